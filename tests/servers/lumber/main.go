// Sends numbered events with Elastic's own lumberjack client, as Filebeat does, and prints each number that
// was acknowledged. It connects again when the connection breaks, and sends again what was not acknowledged.
//
//	lumber ADDRESS EVENTS BATCH v1|v2
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"time"

	v2 "github.com/elastic/go-lumber/client/v2"
)

type doc map[string]interface{}

func event(number int) doc {
	return doc{
		"@timestamp": "2026-01-02T03:04:05.678Z",
		"@metadata":  doc{"beat": "filebeat", "type": "_doc", "version": "8.19.0"},
		"message":    fmt.Sprintf("line %d", number),
		"log":        doc{"offset": number * 10, "file": doc{"path": "/var/log/app.log"}},
		"host":       doc{"name": "box"},
		"agent":      doc{"type": "filebeat", "id": "a", "ephemeral_id": "e", "version": "8.19.0"},
	}
}

func main() {
	address := os.Args[1]
	events, _ := strconv.Atoi(os.Args[2])
	batch, _ := strconv.Atoi(os.Args[3])
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	var client *v2.SyncClient
	for at := 0; at < events; {
		if client == nil {
			made, err := v2.SyncDial(address, v2.CompressionLevel(3), v2.Timeout(30*time.Second))
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				time.Sleep(50 * time.Millisecond)
				continue
			}
			client = made
		}
		var window []interface{}
		for number := at; number < at+batch && number < events; number++ {
			window = append(window, event(number))
		}
		stored, err := client.Send(window)
		for number := at; number < at+stored; number++ {
			fmt.Fprintln(out, number)
		}
		out.Flush()
		at += stored
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			client.Close()
			client = nil
		}
	}
}
