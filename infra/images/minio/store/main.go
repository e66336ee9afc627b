// Command store runs MinIO in its container.
//
//	store serve    process 1: prepares the volume, runs MinIO, repairs bucket and users, passes signals on
//	store health   a real round trip through the running store; exit 0 or 1
//
// Whatever it refuses, it says why and changes nothing.
package main

import (
	"errors"
	"fmt"
	"os"
)

const (
	// dataDir is where the data volume is mounted.
	dataDir = "/var/lib/minio"
	// secretsDir holds one file for each user, see users.
	secretsDir = "/run/secrets"
	// These two lie on a tmpfs: they are gone after every stop.
	readyFile        = "/run/minio/ready"
	rootPasswordFile = "/run/minio/root-password"
	listen           = ":9000"
	endpoint         = "127.0.0.1:9000"

	// bucket holds what MLflow tracks.
	bucket = "mlflow"
	// healthBucket is for the health check alone, so that its canary never shows up among artifacts.
	healthBucket = "mlgate-health"
	// rootUser never leaves this container. Its password is made at every start and lies in no backup.
	rootUser = "mlgate-root"
)

// users are the accounts that the store gives out, with the secret file of each.
var users = map[string]string{
	"mlflow": "mlflow-secret-key",
	"door":   "door-secret-key",
}

// Exit codes beside MinIO's own: what was refused needs a person, what failed may pass at the next start.
const (
	exitRefused = 64
	exitFailed  = 65
)

// refusal is an error that no restart will cure.
type refusal struct{ reason string }

func (r refusal) Error() string { return "refusing to start: " + r.reason }

func refusef(format string, args ...any) error { return refusal{fmt.Sprintf(format, args...)} }

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "mlgate: "+format+"\n", args...) }

func main() {
	command := ""
	if len(os.Args) == 2 {
		command = os.Args[1]
	}
	switch command {
	case "serve":
		code, err := serve()
		if err != nil {
			say("%v", err)
		}
		os.Exit(code)
	case "health":
		if err := health(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, "usage: store serve | store health")
		os.Exit(2)
	}
}

func exitCode(err error) int {
	var refused refusal
	if errors.As(err, &refused) {
		return exitRefused
	}
	return exitFailed
}
