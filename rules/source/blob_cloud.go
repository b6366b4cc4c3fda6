//go:build cloudblob

package source

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	_ "gocloud.dev/blob/s3blob"    // s3://
)

// bucketObject is an object of a bucket: s3://BUCKET/KEY, gs://BUCKET/KEY or
// azblob://CONTAINER/KEY, with the store's options as the query. Credentials come
// from where the store's own tools take them.
type bucketObject struct {
	name, bucket, key string

	etag string // of last
	last *unit
}

func openBlob(text string) (repository, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return nil, fmt.Errorf("%s: must name a bucket and an object", redact(text))
	}
	key := strings.TrimPrefix(u.Path, "/")
	u.Path, u.RawPath = "", ""
	return &bucketObject{name: redact(text), bucket: u.String(), key: key}, nil
}

func (o *bucketObject) title() string { return o.name }

func (o *bucketObject) revision() string { return o.etag }

func (o *bucketObject) read(ctx context.Context) (_ []unit, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	bucket, err := blob.OpenBucket(ctx, o.bucket)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, bucket.Close()) }()
	a, err := bucket.Attributes(ctx, o.key)
	switch {
	case err != nil:
		return nil, err
	case o.last != nil && a.ETag != "" && a.ETag == o.etag:
		return []unit{*o.last}, nil
	case a.Size > maxFile:
		return nil, fmt.Errorf("is larger than %d MiB", maxFile>>20)
	}
	data, err := bucket.ReadAll(ctx, o.key)
	if err != nil {
		return nil, err
	}
	// The tag is from before the object was read: when it was replaced in between, the
	// next look reads it again.
	o.etag, o.last = a.ETag, &unit{name: o.name, data: data}
	return []unit{*o.last}, nil
}

var _ remote = (*bucketObject)(nil)
