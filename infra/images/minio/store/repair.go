package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/minio/madmin-go/v3"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// policyName is what every user of ours gets: its bucket, and nothing else. Without the last statement a MinIO user
// may change its own secret and make further keys of its own, which would outlive a change of secrets.
const policyName = "mlgate-bucket"

var policy = fmt.Sprintf(`{
	"Version": "2012-10-17",
	"Statement": [
		{
			"Effect": "Allow",
			"Action": ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"],
			"Resource": ["arn:aws:s3:::%[1]s"]
		},
		{
			"Effect": "Allow",
			"Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
			"Resource": ["arn:aws:s3:::%[1]s/*"]
		},
		{"Effect": "Deny", "Action": ["admin:*"]}
	]
}`, bucket)

// readSecrets gives the secret key of each user.
func readSecrets(dir string) (map[string]string, error) {
	secrets := map[string]string{}
	for user, file := range users {
		path := filepath.Join(dir, file)
		text, err := os.ReadFile(path)
		secret := strings.TrimSpace(string(text))
		switch {
		case err != nil:
			return nil, refusef("the secret file of user %s cannot be read: %v", user, err)
		case len(secret) < 8:
			return nil, refusef("the secret in %s has %d characters; MinIO takes no less than 8", path, len(secret))
		}
		secrets[user] = secret
	}
	return secrets, nil
}

func client(user, secret string) (*minio.Client, error) {
	return minio.New(endpoint, &minio.Options{Creds: credentials.NewStaticV4(user, secret, ""), Region: "us-east-1"})
}

// repair makes buckets, policy and users what they should be, whatever became of them, and tries each user.
// A bucket that was there before and is gone is never replaced by an empty one.
func repair(ctx context.Context, v volume, rootPassword string, secrets map[string]string) error {
	root, err := client(rootUser, rootPassword)
	if err != nil {
		return err
	}
	identity, err := v.identity()
	if err != nil {
		return err
	}
	found, err := root.BucketExists(ctx, bucket)
	if err != nil {
		return fmt.Errorf("looking for bucket %s: %w", bucket, err)
	}
	if !found && identity != "" {
		return refusef("bucket %s was made on volume %s and is gone; restore it from a backup, or remove %s to begin with an empty one",
			bucket, identity, v.path("identity"))
	}
	for _, name := range []string{bucket, healthBucket} {
		if err := makeBucket(ctx, root, name); err != nil {
			return fmt.Errorf("making bucket %s: %w", name, err)
		}
	}
	admin, err := madmin.New(endpoint, rootUser, rootPassword, false)
	if err != nil {
		return err
	}
	if err := admin.AddCannedPolicy(ctx, policyName, []byte(policy)); err != nil {
		return fmt.Errorf("setting policy %s: %w", policyName, err)
	}
	for user, secret := range secrets {
		if err := repairUser(ctx, admin, user, secret); err != nil {
			return fmt.Errorf("user %s: %w", user, err)
		}
	}
	return v.identify()
}

func makeBucket(ctx context.Context, root *minio.Client, name string) error {
	found, err := root.BucketExists(ctx, name)
	if err != nil || found {
		return err
	}
	return root.MakeBucket(ctx, name, minio.MakeBucketOptions{})
}

// repairUser sets secret, state and policy, and removes further keys made in the user's name: a change of the secret
// must shut out whoever had the old one. (Temporary keys end with the root password, see serve.) The call that sets a user's policies as a whole is the deprecated
// one; attaching alone would leave policies that somebody added.
func repairUser(ctx context.Context, admin *madmin.AdminClient, user, secret string) error {
	if err := admin.SetUser(ctx, user, secret, madmin.AccountEnabled); err != nil {
		return err
	}
	if err := admin.SetPolicy(ctx, policyName, user, false); err != nil {
		return err
	}
	further, err := admin.ListServiceAccounts(ctx, user)
	if err != nil {
		return fmt.Errorf("listing further keys: %w", err)
	}
	for _, key := range further.Accounts {
		if err := admin.DeleteServiceAccount(ctx, key.AccessKey); err != nil {
			return fmt.Errorf("removing further key %s: %w", key.AccessKey, err)
		}
	}
	s3, err := client(user, secret)
	if err != nil {
		return err
	}
	return needBucket(ctx, s3)
}

// needBucket fails unless the bucket is there for whoever asks.
func needBucket(ctx context.Context, s3 *minio.Client) error {
	found, err := s3.BucketExists(ctx, bucket)
	if err == nil && !found {
		err = errors.New("it is not there")
	}
	if err != nil {
		return fmt.Errorf("looking for bucket %s: %w", bucket, err)
	}
	return nil
}
