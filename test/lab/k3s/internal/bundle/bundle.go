// Package bundle is an archive at the end of an executable: content, then a footer of its SHA-256, its length and a
// mark.
package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

var mark = []byte("k3s-lab\n")

const footer = sha256.Size + 8 + 8

// Bundle reads the content.
type Bundle struct {
	io.Reader
	Hash []byte
	file *os.File
}

// Open finds the bundle of an executable. It does not read the content, nor check it.
func Open(executable string) (*Bundle, error) {
	file, err := os.Open(executable)
	if err != nil {
		return nil, err
	}
	held, err := file.Stat()
	if err != nil {
		return nil, err
	}
	end := make([]byte, footer)
	if _, err := file.ReadAt(end, held.Size()-footer); err != nil {
		return nil, err
	}
	if !bytes.Equal(end[footer-len(mark):], mark) {
		return nil, fmt.Errorf("%s carries no bundle: build it with test/lab/k3s/build", executable)
	}
	length := int64(binary.LittleEndian.Uint64(end[sha256.Size:]))
	return &Bundle{io.NewSectionReader(file, held.Size()-footer-length, length), end[:sha256.Size], file}, nil
}

// Close ends reading.
func (b *Bundle) Close() error { return b.file.Close() }

// Append writes content and its footer at the end of out.
func Append(out io.Writer, content []byte) error {
	sum := sha256.Sum256(content)
	end := binary.LittleEndian.AppendUint64(sum[:], uint64(len(content)))
	for _, part := range [][]byte{content, append(end, mark...)} {
		if _, err := out.Write(part); err != nil {
			return err
		}
	}
	return nil
}
