package main

import (
	"log"
	"testing"
)

// standIn is a testing.TB for upstream's servers, which are made for tests. Their failures end the process.
type standIn struct{ testing.TB }

func (standIn) Helper()                         {}
func (standIn) Cleanup(func())                  {}
func (standIn) Log(args ...any)                 { log.Print(args...) }
func (standIn) Logf(text string, args ...any)   { log.Printf(text, args...) }
func (standIn) Fatal(args ...any)               { log.Fatal(args...) }
func (standIn) Fatalf(text string, args ...any) { log.Fatalf(text, args...) }
func (standIn) Errorf(text string, args ...any) { log.Fatalf(text, args...) }
