package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/minio/minio-go/v7"
)

const healthTimeout = 8 * time.Second

// health writes, reads and removes an object, and looks at the bucket that matters.
func health() error {
	if !exists(readyFile) {
		return errors.New("bucket and users are not repaired yet")
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	password, err := os.ReadFile(rootPasswordFile)
	if err != nil {
		return err
	}
	root, err := client(rootUser, string(password))
	if err != nil {
		return err
	}
	if err := needBucket(ctx, root); err != nil {
		return err
	}
	return roundTrip(ctx, root)
}

// roundTrip uses a name of its own, so that two checks at once do not meet.
func roundTrip(ctx context.Context, root *minio.Client) error {
	canary := random(64)
	name := fmt.Sprintf("canary-%x", canary[:8])
	if _, err := root.PutObject(ctx, healthBucket, name, bytes.NewReader(canary), int64(len(canary)), minio.PutObjectOptions{}); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	object, err := root.GetObject(ctx, healthBucket, name, minio.GetObjectOptions{})
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	defer object.Close()
	back, err := io.ReadAll(object)
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if !bytes.Equal(back, canary) {
		return errors.New("what was read is not what was written")
	}
	if err := root.RemoveObject(ctx, healthBucket, name, minio.RemoveObjectOptions{}); err != nil {
		return fmt.Errorf("removing: %w", err)
	}
	return nil
}
