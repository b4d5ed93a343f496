package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"

	"holdfast/domain"
)

// Bucket is what an archive needs of an object store. Every call may fail in every way: an error of Put says nothing about what is
// stored, unless it is ErrExists.
type Bucket interface {
	// Put stores an object, if there is none of that key: in one step, whoever else does so. When it returns nil, the object is durable.
	Put(ctx context.Context, key string, body []byte) error
	// Get returns an object whole, or ErrMissing.
	Get(ctx context.Context, key string) ([]byte, error)
	// List calls each for the objects whose keys begin so, in the order of their keys.
	List(ctx context.Context, prefix string, each func(Object) error) error
	// Delete removes an object; that there is none of that key is fine. What is archived is removed by Compact alone.
	Delete(ctx context.Context, key string) error
	Close() error
}

// Object is one of a bucket's.
type Object struct {
	Key     string
	Size    int64
	Written time.Time // on the store's clock
}

// ErrExists says that there is an object of that key.
var ErrExists = errors.New("there is an object of that key")

// ErrMissing says that there is none.
var ErrMissing = errors.New("there is no such object")

// CheckURL returns what is wrong with the URL of an archive, nil if nothing is.
func CheckURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("want file:///folder or s3://bucket/prefix?region=…")
	case u.Scheme == "file":
		if u.Host != "" || u.Path == "" || u.RawQuery != "" || u.Fragment != "" {
			return errors.New("want file:///folder, an absolute path and nothing else")
		}
	case u.Scheme == "s3":
		if u.Host == "" || u.User != nil || u.Fragment != "" {
			return errors.New("want s3://bucket/prefix?region=…; who asks is told by AWS_ACCESS_KEY_ID and the like")
		}
	default:
		return errors.New("want file:///folder or s3://bucket/prefix?region=…")
	}
	return nil
}

// Open opens the bucket of an archive: file:///folder, which is made when something is written, or s3://bucket/prefix?region=…&endpoint=…, with the
// parameters that gocloud.dev/blob/s3blob has and the credentials that AWS's tools find. Errors are of ClassReject for a wrong URL.
func Open(ctx context.Context, raw string) (Bucket, error) {
	if err := CheckURL(raw); err != nil {
		return nil, domain.WithCode(domain.ClassReject, domain.CodeInvalid, err)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "file" {
		return folder{u.Path}, nil
	}
	prefix := strings.Trim(u.Path, "/")
	u.Path = ""
	bucket, err := new(s3blob.URLOpener).OpenBucketURL(ctx, u)
	if err != nil {
		return nil, domain.WithCode(domain.ClassReject, domain.CodeInvalid, fmt.Errorf("opening the bucket: %w", err))
	}
	if prefix != "" {
		bucket = blob.PrefixedBucket(bucket, prefix+"/")
	}
	return objects{bucket}, nil
}

// objects is a bucket of an object store.
type objects struct{ bucket *blob.Bucket }

// partSize is more than any segment has: a larger object would be written in parts, and what is written in parts is not written in one step
// everywhere.
const partSize = 64 << 20

// Put implements Bucket.
func (o objects) Put(ctx context.Context, key string, body []byte) error {
	// An upload that is given up in the middle must not be completed: the context tells it so.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := o.bucket.NewWriter(ctx, key, &blob.WriterOptions{
		BufferSize: partSize, ContentType: "application/vnd.apache.parquet", DisableContentTypeDetection: true, IfNotExist: true,
	})
	if err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	if _, err := w.Write(body); err != nil {
		cancel()
		return errors.Join(fmt.Errorf("writing %s: %w", key, err), w.Close())
	}
	err = w.Close()
	if gcerrors.Code(err) == gcerrors.FailedPrecondition {
		return fmt.Errorf("writing %s: %w", key, ErrExists)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	return nil
}

// Get implements Bucket.
func (o objects) Get(ctx context.Context, key string) ([]byte, error) {
	body, err := o.bucket.ReadAll(ctx, key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, fmt.Errorf("reading %s: %w", key, ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	return body, nil
}

// List implements Bucket.
func (o objects) List(ctx context.Context, prefix string, each func(Object) error) error {
	for all := o.bucket.List(&blob.ListOptions{Prefix: prefix}); ; {
		object, err := all.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listing %s: %w", prefix, err)
		}
		if err := each(Object{object.Key, object.Size, object.ModTime}); err != nil {
			return err
		}
	}
}

// Delete implements Bucket.
func (o objects) Delete(ctx context.Context, key string) error {
	if err := o.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("removing %s: %w", key, err)
	}
	return nil
}

// Close implements Bucket.
func (o objects) Close() error { return o.bucket.Close() }
