// Package histogram counts durations in buckets less than 1 % wide, whatever their size.
package histogram

import "math/bits"

const (
	part    = 7 // bits: 128 buckets for each power of two
	buckets = (64 - part) << part
)

// Histogram of nanoseconds.
type Histogram struct {
	counts   [buckets]uint64
	Count    uint64
	Sum, Max int64
}

func bucket(ns int64) int {
	v := uint64(ns)
	if v < 1<<part {
		return int(v)
	}
	shift := bits.Len64(v) - part - 1
	return shift<<part + int(v>>shift)
}

// middle returns the value that stands for a bucket.
func middle(at int) int64 {
	if at < 2<<part {
		return int64(at)
	}
	shift := at>>part - 1
	low := int64(at-shift<<part) << shift
	return low + int64(1)<<shift/2
}

// Add counts one duration.
func (h *Histogram) Add(ns int64) {
	if ns < 0 {
		ns = 0
	}
	h.counts[bucket(ns)]++
	h.Count++
	h.Sum += ns
	if ns > h.Max {
		h.Max = ns
	}
}

// Quantile returns the duration that a part of them (0..1) does not exceed, 0 if there is none.
func (h *Histogram) Quantile(part float64) int64 {
	rank := uint64(part * float64(h.Count))
	var seen uint64
	for at, count := range h.counts {
		if seen += count; count > 0 && seen > rank {
			return middle(at)
		}
	}
	return h.Max
}
