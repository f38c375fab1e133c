package main

import (
	"errors"
	"log"
	"log/slog"
	"os"
)

type shelf struct{ items []string }

func (s *shelf) at(i int) string { return s.items[i] }

func main() {
	log.Println("shop opens")
	text := slog.New(slog.NewTextHandler(os.Stderr, nil))
	text.Info("order placed", "order", 7, "total", 12.5)
	text.Warn("slow", "took", "3.2s", "err", errors.New("disk is busy"))
	slog.New(slog.NewJSONHandler(os.Stderr, nil)).Error("order refused", "order", 8, "reason", "no stock")
	slog.Error("order lost", "order", 9)
	s := &shelf{items: []string{"apple"}}
	log.Println(s.at(0))
	done := make(chan bool)
	go func() { log.Println(s.at(7)); done <- true }()
	<-done
}
