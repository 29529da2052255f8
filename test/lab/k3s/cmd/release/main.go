// The release tool packs what the build made: the k3s that carries the other binaries, and the archive of images.
//
//	release k3s OUT WRAPPER FILE...        OUT is WRAPPER with an archive of FILEs at its end
//	release images OUT NAME=FOLDER[=CONFIG]...
//	                                       OUT is an archive of images, each one layer: the FOLDER, which several may
//	                                       share; CONFIG is FOLDER.json unless given
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"keybuzz.io/lab/k3s/internal/bundle"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: release k3s|images OUT ...")
		os.Exit(1)
	}
	pack := map[string]func(string, []string) error{"k3s": packBinary, "images": packImages}[os.Args[1]]
	if err := pack(os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func compressed(content []byte) ([]byte, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return nil, err
	}
	return encoder.EncodeAll(content, nil), nil
}

func packBinary(out string, files []string) error {
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	for _, file := range files[1:] {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := add(writer, &tar.Header{Name: filepath.Base(file), Mode: 0o755}, content); err != nil {
			return err
		}
	}
	if err := writer.Close(); err != nil {
		return err
	}
	content, err := compressed(archive.Bytes())
	if err != nil {
		return err
	}
	wrapper, err := os.ReadFile(files[0])
	if err != nil {
		return err
	}
	result, err := os.OpenFile(out, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := result.Write(wrapper); err != nil {
		return err
	}
	if err := bundle.Append(result, content); err != nil {
		return err
	}
	return result.Close()
}

func add(archive *tar.Writer, header *tar.Header, content []byte) error {
	header.Size = int64(len(content))
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}

// packImages writes the format of `docker save`, which containerd imports.
func packImages(out string, images []string) error {
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	var manifest []map[string]any
	layers := map[string]string{}
	for _, image := range images {
		name, folder, _ := strings.Cut(image, "=")
		folder, config, given := strings.Cut(folder, "=")
		if !given {
			config = folder + ".json"
		}
		if layers[folder] == "" {
			digest, err := packLayer(writer, folder)
			if err != nil {
				return err
			}
			layers[folder] = digest
		}
		entry, err := packImage(writer, name, layers[folder], config)
		if err != nil {
			return err
		}
		manifest = append(manifest, entry)
	}
	content, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	if err := add(writer, &tar.Header{Name: "manifest.json", Mode: 0o644}, content); err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	if content, err = compressed(archive.Bytes()); err != nil {
		return err
	}
	return os.WriteFile(out, content, 0o644)
}

func packLayer(writer *tar.Writer, folder string) (string, error) {
	layer, err := layerOf(folder)
	if err != nil {
		return "", err
	}
	digest := hash(layer)
	return digest, add(writer, &tar.Header{Name: digest + ".tar", Mode: 0o644}, layer)
}

func packImage(writer *tar.Writer, name, layer, configFile string) (map[string]any, error) {
	config := map[string]any{}
	content, err := os.ReadFile(configFile)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(content, &config); err != nil {
		return nil, err
	}
	image, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": config, "created": "1970-01-01T00:00:00Z",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + layer}},
	})
	if err != nil {
		return nil, err
	}
	configName := hash(image) + ".json"
	err = add(writer, &tar.Header{Name: configName, Mode: 0o644}, image)
	return map[string]any{"Config": configName, "RepoTags": []string{name}, "Layers": []string{layer + ".tar"}}, err
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// layerOf is the folder as an archive, the same for the same content: no times, owned by root.
func layerOf(folder string) ([]byte, error) {
	var layer bytes.Buffer
	writer := tar.NewWriter(&layer)
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		held, err := entry.Info()
		if err != nil {
			return err
		}
		target := ""
		if held.Mode()&os.ModeSymlink != 0 {
			if target, err = os.Readlink(path); err != nil {
				return err
			}
		}
		header, err := tar.FileInfoHeader(held, target)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		plain := &tar.Header{Name: relative, Linkname: target, Mode: header.Mode, Typeflag: header.Typeflag, Size: header.Size}
		if err := writer.WriteHeader(plain); err != nil || !held.Mode().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(writer, file)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = writer.Close()
	return layer.Bytes(), err
}
