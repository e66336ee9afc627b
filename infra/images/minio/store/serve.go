package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	minioBinary   = "/usr/local/bin/minio"
	repairTimeout = 60 * time.Second
)

// serve runs until MinIO ends, and gives the exit code of the container.
func serve() (int, error) {
	// From the first moment: process 1 ignores every signal that it does not catch.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)

	_ = os.Remove(readyFile)
	secrets, err := readSecrets(secretsDir)
	if err != nil {
		return exitCode(err), err
	}
	v, err := openVolume(dataDir, os.Getenv("MLGATE_VOLUME"))
	if err != nil {
		return exitCode(err), err
	}
	// A new one at every start. It also signs the temporary keys that any user may ask for: they end here too.
	password := hex.EncodeToString(random(20))
	if err := os.WriteFile(rootPasswordFile, []byte(password), 0o600); err != nil {
		return exitCode(err), err
	}
	server, err := startServer(v)
	if err != nil {
		return exitCode(err), err
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	repaired := make(chan error, 1)
	go func() { repaired <- makeReady(ctx, v, password, secrets) }()
	ended := make(chan syscall.WaitStatus, 1)
	go func() { ended <- reap(server.Pid) }()

	stopping := false
	var failure error
	for {
		select {
		case <-signals:
			stopping = true
			cancel()
			_ = server.Signal(syscall.SIGTERM)
		case err := <-repaired:
			if err != nil && !stopping {
				failure = fmt.Errorf("bucket and users could not be repaired; stopping: %w", err)
				_ = server.Signal(syscall.SIGTERM)
			}
		case status := <-ended:
			switch {
			case failure != nil:
				return exitCode(failure), failure
			case status.Signaled() && !stopping:
				return exitFailed, fmt.Errorf("MinIO was killed by signal %d", status.Signal())
			case status.Signaled() && status.Signal() == syscall.SIGTERM:
				return 0, nil // stopped before it could listen to a stop
			case status.Signaled():
				return 128 + int(status.Signal()), nil
			}
			return status.ExitStatus(), nil
		}
	}
}

// startServer gives MinIO a clean environment: what it may know is listed here.
func startServer(v volume) (*os.Process, error) {
	env := []string{
		"HOME=/tmp",
		"MINIO_ROOT_USER=" + rootUser,
		"MINIO_ROOT_PASSWORD_FILE=" + rootPasswordFile,
		"MINIO_BROWSER=off",
		"MINIO_UPDATE=off",
	}
	if limit := memoryLimit(); limit > 0 {
		// A soft limit below the container's own: the collector works harder before the kernel kills.
		env = append(env, fmt.Sprintf("GOMEMLIMIT=%d", limit/10*8))
	}
	argv := []string{minioBinary, "server", v.objects(), "--address", listen, "--quiet", "--anonymous"}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	return os.StartProcess(minioBinary, argv, &os.ProcAttr{Dir: "/", Env: env, Files: []*os.File{null, os.Stdout, os.Stderr}})
}

// memoryLimit is the container's limit in bytes, 0 when it has none. Files of cgroup v2, then v1.
func memoryLimit() uint64 {
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		// v1 says "none" with a number near 2^63.
		if err == nil && limit < 1<<50 {
			return limit
		}
	}
	return 0
}

// reap waits for every process that falls to process 1, until the server itself ends.
func reap(server int) syscall.WaitStatus {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if pid == server || err == syscall.ECHILD {
			return status
		}
	}
}

// makeReady waits for MinIO, repairs, and marks the container ready.
func makeReady(ctx context.Context, v volume, password string, secrets map[string]string) error {
	for !live(ctx) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	if err := repair(ctx, v, password, secrets); err != nil {
		return err
	}
	if err := os.WriteFile(readyFile, nil, 0o644); err != nil {
		return err
	}
	identity, err := v.identity()
	say("volume %s; bucket and users are as they should be", identity)
	return err
}

func live(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+endpoint+"/minio/health/ready", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}
