package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"k8s.io/klog/v2"
)

const trace = "0af7651916cd43dd8448eb211c80319c"

var programs = map[string]func(){
	"log":       plainly,
	"located":   located,
	"slog":      func() { structured(slog.Default()) },
	"slog-text": func() { structured(slog.New(slog.NewTextHandler(os.Stderr, withSource))) },
	"slog-json": func() { structured(slog.New(slog.NewJSONHandler(os.Stderr, withSource))) },
	"klog":      kubernetes,
	"panic":     func() { log.Print("open"); pay(2) },
	"again":     func() { log.Print("open"); again() },
	"error":     func() { log.Print("open"); panic(fmt.Errorf("order 7: %w", fs.ErrNotExist)) },
	"value":     func() { log.Print("open"); panic(card{"4000", 7}) },
	"lines":     func() { log.Print("open"); panic("no card\nat all: see\n\n  the till") },
	"goroutine": func() { log.Print("open"); others() },
	"segment":   func() { log.Print("open"); fmt.Println((*card)(nil).number) },
	"deadlock":  func() { log.Print("open"); <-make(chan int) },
	"served":    served,
}

var withSource = &slog.HandlerOptions{AddSource: true, Level: slog.LevelDebug}

type card struct {
	number string
	orders int
}

func plainly() {
	log.Print("open")
	log.Printf("order %d paid [req-1234-abcd]", 7)
	log.Print("ERROR: two lines\n\tthe second")
	log.SetPrefix("till: ")
	log.Print("with a prefix")
	log.Fatal("closed")
}

func located() {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds | log.LUTC | log.Lshortfile)
	log.Print("open")
	log.SetFlags(log.LstdFlags | log.LUTC | log.Llongfile | log.Lmsgprefix)
	log.SetPrefix("till: ")
	log.Print("paid")
}

func structured(logger *slog.Logger) {
	logger.Debug("asked")
	logger.Info("open", "order", 7, "paid", true, "took", 1.5)
	logger.Warn("say \"no\"\nand go", "customer", "Ann Smith", "trace_id", trace)
	shop := logger.With("service", "till").WithGroup("card")
	shop.Error("not paid", "error", errors.New("no card: at all"), "number", 4000, slog.Group("bank", "name", "b=1"))
	logger.Log(nil, slog.LevelError+2, "lost", "empty", "", "list", []string{"a", "b c"})
}

func kubernetes() {
	defer klog.Flush()
	klog.Info("open")
	klog.Warningf("order %d is slow", 7)
	klog.ErrorS(errors.New("no \"card\" at all"), "Not paid", "pod", klog.KRef("shop", "till-0"), "order", 7, "trace_id", trace)
	klog.InfoS("Paid", "text", "two\nlines", "took", 1.5, "list", []int{1, 2}, "of", map[string]int{"a": 1})
	klog.Background().WithName("till").WithValues("zone", "a b").Info("Closing", "done", true)
	klog.Error("plain: two\nlines, of which\n\tone is indented")
	klog.Info("no file")
	klog.Exit("closed")
}

func pay(depth int) {
	if depth > 0 {
		pay(depth - 1)
		return
	}
	panic("no card")
}

func again() {
	defer func() {
		if said := recover(); said != nil {
			panic(fmt.Sprint("after ", said))
		}
	}()
	pay(1)
}

func others() {
	var all sync.WaitGroup
	waits := make(chan int)
	for range 3 {
		go func() { <-waits }()
	}
	all.Go(func() { pay(1) })
	all.Wait()
}

// served is what net/http says of a handler that panics: the server goes on.
func served() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(listener, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { pay(1) }))
	for range 2 {
		_, err = http.Get("http://" + listener.Addr().String())
		log.Print("asked: ", strings.Contains(fmt.Sprint(err), "EOF"))
	}
}
