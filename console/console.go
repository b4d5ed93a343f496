// Package console is the web pages of holdfast: sources in src, what is made of them in dist, which is embedded. They know nothing but
// the API, whose keys they ask for.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed dist
var built embed.FS

// Policy is what the pages may do: run their own scripts, and ask the server that they are from. Nothing is inline, nothing is from
// elsewhere, and no other page shows them in a frame.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// kinds are what files are served as: the same wherever the program runs.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
}

// page is a file, and what is said of it.
type page struct {
	body []byte
	kind string
	etag string
}

// Handler serves the console at /console/, the page of customers at /my, and leads from / to the console.
func Handler() http.Handler {
	pages := make(map[string]page)
	err := fs.WalkDir(built, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := built.ReadFile(name)
		sum := sha256.Sum256(body)
		pages["/console/"+strings.TrimPrefix(name, "dist/")] = page{body, kinds[path.Ext(name)], `"` + hex.EncodeToString(sum[:8]) + `"`}
		return err
	})
	if err != nil {
		panic(err) // the files are part of the program
	}
	pages["/console/"], pages["/my"] = pages["/console/index.html"], pages["/console/my.html"]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", Policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		// The names of the files stay, so every load asks whether they are still the same: processes of two versions may serve one browser.
		h.Set("Cache-Control", "no-cache")
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/console/", http.StatusFound)
			return
		}
		p, found := pages[r.URL.Path]
		if !found {
			http.Error(w, "there is no such page: the console is at /console/", http.StatusNotFound)
			return
		}
		h.Set("Content-Type", p.kind)
		h.Set("ETag", p.etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(p.body))
	})
}
