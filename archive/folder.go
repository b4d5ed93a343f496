package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// folder is a bucket on a file system. It is not gocloud's: that one looks whether there is a file and then renames another over it,
// so that of two processes one would overwrite what the other has written; and it does not wait until a file is on the disk.
type folder struct{ root string }

// temporary begins the names of files that are being written. One that a crash leaves is never read.
const temporary = ".writing-"

// Put implements Bucket: a link is made in one step, or not at all if there is a file of that name.
func (f folder) Put(ctx context.Context, key string, body []byte) (err error) {
	path := filepath.Join(f.root, filepath.FromSlash(key))
	if err := f.makeFolders(filepath.Dir(path)); err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), temporary)
	if err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	defer func() { err = errors.Join(err, os.Remove(file.Name())) }()
	_, err = file.Write(body)
	if err == nil {
		err = file.Chmod(0o440)
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close(), ctx.Err()); err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	switch err := os.Link(file.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		// Whoever made it may not have come to this, and it counts as written from now on.
		if err := syncFolder(filepath.Dir(path)); err != nil {
			return fmt.Errorf("writing %s: %w", key, err)
		}
		return fmt.Errorf("writing %s: %w", key, ErrExists)
	case err != nil:
		return fmt.Errorf("writing %s: %w", key, err)
	}
	return syncFolder(filepath.Dir(path))
}

// makeFolders makes a folder and those that it is in, each of which is then known to the one above.
func (f folder) makeFolders(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o750); err != nil {
		return err
	}
	for {
		path = filepath.Dir(path)
		if err := syncFolder(path); err != nil {
			return err
		}
		if len(path) <= len(filepath.Clean(f.root)) {
			return nil
		}
	}
}

func syncFolder(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// Get implements Bucket.
func (f folder) Get(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	body, err := os.ReadFile(filepath.Join(f.root, filepath.FromSlash(key)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading %s: %w", key, ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	return body, nil
}

// List implements Bucket.
func (f folder) List(ctx context.Context, prefix string, each func(Object) error) error {
	if err := f.list(ctx, "", prefix, each); err != nil {
		return fmt.Errorf("listing %s: %w", prefix, err)
	}
	return nil
}

func (f folder) list(ctx context.Context, under, prefix string, each func(Object) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	files, err := os.ReadDir(filepath.Join(f.root, filepath.FromSlash(under)))
	if under == "" && errors.Is(err, fs.ErrNotExist) {
		return nil // nothing has been written
	}
	if err != nil {
		return err
	}
	// As keys sort: a folder by its name with the stroke behind it.
	name := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(files, func(a, b fs.DirEntry) int { return strings.Compare(name(a), name(b)) })
	for _, e := range files {
		key := under + name(e)
		switch {
		case e.IsDir() && (strings.HasPrefix(key, prefix) || strings.HasPrefix(prefix, key)):
			err = f.list(ctx, key, prefix, each)
		case !e.IsDir() && strings.HasPrefix(key, prefix) && !strings.HasPrefix(e.Name(), temporary):
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				err = each(Object{key, info.Size(), info.ModTime()})
			} else if errors.Is(err, fs.ErrNotExist) {
				err = nil // it was removed meanwhile
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Delete implements Bucket. What comes back because the disk lost power is removed again.
func (f folder) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(f.root, filepath.FromSlash(key))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", key, err)
	}
	return nil
}

// Close implements Bucket.
func (f folder) Close() error { return nil }
