// Programs that write logs, for the tests of parsers: what Go's own packages and klog write, and what Docker and
// containerd make of what a program writes, with their own code.
//
//	writers go WHAT                                 one of the programs in programs.go
//	writers docker LOG MAX-SIZE MAX-FILE COMMAND…   runs COMMAND as a container's, LOG as json-file
//	writers cri LOG MAX-SIZE COMMAND…               the same as a pod's; LOG is rotated as the kubelet does it
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	switch arguments := os.Args[1:]; {
	case len(arguments) == 2 && arguments[0] == "go" && programs[arguments[1]] != nil:
		programs[arguments[1]]()
	case len(arguments) > 4 && arguments[0] == "docker":
		err = docker(arguments[1], arguments[2], arguments[3], arguments[4:])
	case len(arguments) > 3 && arguments[0] == "cri":
		err = cri(arguments[1], arguments[2], arguments[3:])
	default:
		err = fmt.Errorf("usage: writers go WHAT | docker LOG SIZE FILES COMMAND… | cri LOG SIZE COMMAND…")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
