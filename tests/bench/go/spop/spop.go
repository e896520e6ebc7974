// Package spop writes and reads the few frames of SPOP that a load and an echo need. It shares nothing with the guard, so that
// what one of the two gets wrong the other finds out.
package spop

import "encoding/binary"

// Frame types (SPOE.txt 3.2.2).
const (
	HaproxyHello      = 1
	HaproxyDisconnect = 2
	Notify            = 3
	AgentHello        = 101
	AgentDisconnect   = 102
	Ack               = 103
)

// Types of data (SPOE.txt 3.1): the lower four bits of the byte in front of it.
const (
	Bool   = 1
	Uint32 = 3
	Uint64 = 5
	IPv4   = 6
	IPv6   = 7
	String = 8
	Binary = 9
)

const (
	fin    = 1
	Prefix = 4          // bytes of the length in front of a frame
	idsAt  = Prefix + 5 // behind length, type and flags
	Size   = 16380      // what HAProxy offers as max-frame-size
	MaxLen = Size
)

// AppendVarint writes v as SPOP does (SPOE.txt 3.1).
func AppendVarint(out []byte, v uint64) []byte {
	if v < 240 {
		return append(out, byte(v))
	}
	out = append(out, byte(v)|240)
	v = (v - 240) >> 4
	for v >= 128 {
		out = append(out, byte(v)|128)
		v = (v - 128) >> 7
	}
	return append(out, byte(v))
}

// Varint returns the value at the head of in and how many bytes it takes, 0 if in ends inside it.
func Varint(in []byte) (uint64, int) {
	if len(in) == 0 {
		return 0, 0
	}
	v := uint64(in[0])
	if v < 240 {
		return v, 1
	}
	shift := 4
	for i := 1; i < len(in) && i < 10; i++ {
		v += uint64(in[i]) << shift
		if in[i] < 128 {
			return v, i + 1
		}
		shift += 7
	}
	return 0, 0
}

// AppendString writes a length and that many bytes: a name, or the value of a string without its type.
func AppendString(out []byte, s string) []byte {
	return append(AppendVarint(out, uint64(len(s))), s...)
}

// Begin writes the head of a frame up to its flags; ids and payload come behind it, and then End.
func Begin(out []byte, kind byte, flags byte) []byte {
	return append(out, 0, 0, 0, 0, kind, 0, 0, 0, flags)
}

// BeginWhole is Begin for a frame that is not a fragment.
func BeginWhole(out []byte, kind byte) []byte { return Begin(out, kind, fin) }

// End writes the length of the frame that begins at offset at.
func End(out []byte, at int) []byte {
	binary.BigEndian.PutUint32(out[at:], uint32(len(out)-at-Prefix))
	return out
}

// Next returns the length of the frame at the head of in, its prefix included, or 0 if it is not whole. A frame that is longer
// than was negotiated is as good as a broken stream: -1.
func Next(in []byte) int {
	if len(in) < Prefix {
		return 0
	}
	length := int(binary.BigEndian.Uint32(in))
	if length > MaxLen || length < 7 {
		return -1
	}
	if len(in) < Prefix+length {
		return 0
	}
	return Prefix + length
}

// Type returns the type of a whole frame.
func Type(frame []byte) byte { return frame[Prefix] }

// Whole tells whether it is not a fragment.
func Whole(frame []byte) bool { return frame[idsAt-1]&fin != 0 }

// IDs returns the bytes of stream-id and frame-id of a whole frame, and what is behind them.
func IDs(frame []byte) (ids, payload []byte) {
	_, one := Varint(frame[idsAt:])
	_, two := Varint(frame[idsAt+one:])
	at := idsAt + one + two
	return frame[idsAt:at], frame[at:]
}

// Typed returns how many bytes the typed data at the head of in takes, its type included, or 0 if it is not whole.
func Typed(in []byte) int {
	if len(in) == 0 {
		return 0
	}
	length := 1
	switch kind := in[0] & 15; {
	case kind > Bool && kind <= Uint64:
		_, n := Varint(in[1:])
		if n == 0 {
			return 0
		}
		length += n
	case kind == IPv4:
		length += 4
	case kind == IPv6:
		length += 16
	case kind >= String:
		size, n := Varint(in[1:])
		if n == 0 || size > uint64(len(in)) {
			return 0
		}
		length += n + int(size)
	}
	if length > len(in) {
		return 0
	}
	return length
}
