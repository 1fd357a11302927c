package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	cri_io "github.com/containerd/containerd/pkg/cri/io"
	"github.com/containerd/containerd/pkg/ioutil"
	"github.com/docker/docker/daemon/logger"
	"github.com/docker/docker/daemon/logger/jsonfilelog"
)

// started runs a command with pipes, as runtimes do.
func started(command []string) (*exec.Cmd, io.Reader, io.Reader, error) {
	running := exec.Command(command[0], command[1:]...)
	out, err := running.StdoutPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	errors, err := running.StderrPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	return running, out, errors, running.Start()
}

// ended waits for a command; that it failed is what some of them are for.
func ended(running *exec.Cmd) error {
	var status *exec.ExitError
	if err := running.Wait(); err != nil && !errors.As(err, &status) {
		return err
	}
	return nil
}

// docker writes what the daemon would: its copier, which cuts lines at 16 KiB, and its logger, which rotates.
func docker(path, size, files string, command []string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	writing, err := jsonfilelog.New(logger.Info{
		Config:          map[string]string{"max-size": size, "max-file": files, "labels": "team", "tag": "{{.Name}}"},
		ContainerID:     filepath.Base(filepath.Dir(path)),
		ContainerName:   "/till",
		ContainerLabels: map[string]string{"team": "shop"},
		LogPath:         path,
	})
	if err != nil {
		return err
	}
	running, out, errors, err := started(command)
	if err != nil {
		return err
	}
	copier := logger.NewCopier(map[string]io.Reader{"stdout": out, "stderr": errors}, writing)
	copier.Run()
	copier.Wait()
	if err := ended(running); err != nil {
		return err
	}
	return writing.Close()
}

const lineSize = 16 << 10 // containerd's max_container_log_line_size

// podLog is a container's output in containerd: a group of writers, of which the one to the log is replaced.
type podLog struct {
	path        string
	out, errors *ioutil.WriterGroup
	stopped     []<-chan struct{}
}

// reopen opens the log anew, which is what the kubelet asks containerd for when it has renamed it.
func (pod *podLog) reopen() error {
	file, err := os.OpenFile(pod.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	shared := ioutil.NewSerialWriteCloser(file)
	out, outStopped := cri_io.NewCRILogger(pod.path, shared, cri_io.Stdout, lineSize)
	errors, errorsStopped := cri_io.NewCRILogger(pod.path, shared, cri_io.Stderr, lineSize)
	pod.stopped = append(pod.stopped, outStopped, errorsStopped)
	for group, writer := range map[*ioutil.WriterGroup]io.WriteCloser{pod.out: out, pod.errors: errors} {
		before := group.Get("log")
		group.Add("log", writer)
		if before != nil {
			before.Close() // what it holds of a line goes into the old file, as a part
		}
	}
	return nil
}

// rotate does what the kubelet does when a log is too large.
func (pod *podLog) rotate(size int64, times int) error {
	held, err := os.Stat(pod.path)
	if err != nil || held.Size() < size {
		return err
	}
	name := pod.path + "." + time.Now().Add(time.Duration(times)*time.Second).Format("20060102-150405")
	if err := os.Rename(pod.path, name); err != nil {
		return err
	}
	return pod.reopen()
}

func cri(path, size string, command []string) error {
	limit, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	pod := &podLog{path: path, out: ioutil.NewWriterGroup(), errors: ioutil.NewWriterGroup()}
	if err := pod.reopen(); err != nil {
		return err
	}
	running, out, errors, err := started(command)
	if err != nil {
		return err
	}
	var copying sync.WaitGroup
	copying.Go(func() { io.Copy(pod.out, out) })
	copying.Go(func() { io.Copy(pod.errors, errors) })
	done := make(chan struct{})
	go func() { copying.Wait(); close(done) }()
	for times := 1; ; times++ {
		select {
		case <-done:
			if err := ended(running); err != nil {
				return err
			}
			pod.out.Close()
			pod.errors.Close()
			for _, stopped := range pod.stopped {
				<-stopped
			}
			return nil
		case <-time.After(20 * time.Millisecond):
			if err := pod.rotate(limit, times); err != nil {
				return err
			}
		}
	}
}
