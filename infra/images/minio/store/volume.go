package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A volume is the data volume:
//
//	lock       held as long as the container runs: two servers on one volume would destroy it
//	fresh      made with the volume: the identity that it will have; gone when it has one
//	objects/   MinIO's own
//	identity   made when bucket and users first stood: a volume that has one and no objects has lost its data
type volume struct {
	dir string
	// expected is the identity of the volume that has this stack's data; empty where nobody knows it.
	expected string
}

func (v volume) path(name string) string { return filepath.Join(v.dir, name) }

func (v volume) objects() string { return v.path("objects") }

// openVolume takes the lock and refuses what is not ours or has lost its data.
func openVolume(dir, expected string) (volume, error) {
	v := volume{dir: dir, expected: expected}
	// A bare descriptor: the collector closes an os.File that nobody uses any more, and the lock would go with it.
	lock, err := syscall.Open(v.path("lock"), syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return v, refusef("the data volume is not writable for uid %d: %v", os.Getuid(), err)
	}
	if err := syscall.Flock(lock, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return v, refusef("another container is running on this data volume")
	}
	identity, err := v.identity()
	if err != nil {
		return v, err
	}
	if err := v.check(identity); err != nil {
		return v, err
	}
	formatted := exists(filepath.Join(v.objects(), ".minio.sys", "format.json"))
	if identity != "" && !formatted {
		return v, refusef("volume %s once held objects and has none now; restore a backup into it, or use a new volume", identity)
	}
	if foreign, err := v.foreign(formatted); err != nil || len(foreign) > 0 {
		if err != nil {
			return v, err
		}
		return v, refusef("the data volume holds no store of ours, but is not empty: %s", strings.Join(foreign, " "))
	}
	return v, os.MkdirAll(v.objects(), 0o700)
}

// foreign names what lies on an unformatted volume and was not put there by us.
func (v volume) foreign(formatted bool) ([]string, error) {
	if formatted {
		return nil, nil
	}
	ours := map[string]bool{"lock": true, "fresh": true, "lost+found": true, "objects": true, ".minio.sys": true}
	var foreign []string
	for _, dir := range []string{v.dir, v.objects()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		for _, entry := range entries {
			if !ours[entry.Name()] {
				foreign = append(foreign, filepath.Join(dir, entry.Name()))
			}
		}
	}
	return foreign, nil
}

// check refuses another volume than the one with the data, and least of all lets an empty one pass for it.
func (v volume) check(identity string) error {
	const where = "the data of this stack is on volume %s; npx mlgate up finds out where that is"
	switch {
	case v.expected == "" || identity == v.expected:
		return nil
	case identity != "":
		return refusef("this is volume %s, and "+where, identity, v.expected)
	}
	fresh, err := v.read("fresh")
	if err == nil && fresh != v.expected {
		err = refusef("there is no data on this volume, and "+where, v.expected)
	}
	return err
}

// identity is empty until the volume got one.
func (v volume) identity() (string, error) { return v.read("identity") }

func (v volume) read(name string) (string, error) {
	text, err := os.ReadFile(v.path(name))
	if os.IsNotExist(err) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// identify gives the volume its identity, once.
func (v volume) identify() error {
	if identity, err := v.identity(); identity != "" || err != nil {
		return err
	}
	identity := v.expected
	if identity == "" {
		b := random(16)
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
		identity = fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	}
	if err := v.write("identity", identity+"\n"); err != nil {
		return err
	}
	if err := os.Remove(v.path("fresh")); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// write puts a whole file in place or none, and has it on the disk before it returns.
func (v volume) write(name, content string) error {
	file, err := os.OpenFile(v.path(name+".new"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteString(content); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(v.path(name+".new"), v.path(name)); err != nil {
		return err
	}
	dir, err := os.Open(v.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails, see crypto/rand
	return b
}
