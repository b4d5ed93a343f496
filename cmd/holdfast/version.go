package main

import (
	"runtime"
	"runtime/debug"
	"strconv"
)

// versionView is what the build recorded about itself.
type versionView struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Time     string `json:"time"`     // of the revision
	Modified bool   `json:"modified"` // built from files that were not committed
	Go       string `json:"go"`
}

func readVersion() versionView {
	v := versionView{Version: "(devel)", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String is one line.
func (v versionView) String() string {
	text := "holdfast " + v.Version
	if v.Revision != "" {
		text += " " + v.Revision
	}
	return text + " " + v.Go
}

type versionCommand struct{}

func (c *versionCommand) Run(e *environment) error {
	v := readVersion()
	out := e.printer()
	out.sheet(v, "version", v.Version, "revision", v.Revision, "time", v.Time,
		"modified", strconv.FormatBool(v.Modified), "go", v.Go)
	return out.flush()
}
