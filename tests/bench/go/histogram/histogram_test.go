package histogram

import "testing"

func TestEachValueIsWithinOnePercentOfItsBucket(t *testing.T) {
	for v := int64(0); v < 1<<40; v += 1 + v/1000 {
		got := middle(bucket(v))
		if diff := got - v; diff*100 > v || -diff*100 > v {
			t.Fatalf("%d is counted as %d", v, got)
		}
	}
}

func TestQuantilesOfAThousand(t *testing.T) {
	h := &Histogram{}
	for v := int64(1); v <= 1000; v++ {
		h.Add(v * 1000)
	}
	for part, want := range map[float64]int64{0: 1000, 0.5: 501000, 0.99: 991000, 0.999: 1000000, 1: 1000000} {
		if got := h.Quantile(part); got < want*99/100 || got > want*101/100 {
			t.Errorf("%v: %d", part, got)
		}
	}
	if h.Count != 1000 || h.Max != 1000000 || h.Sum != 500500000 {
		t.Errorf("%d %d %d", h.Count, h.Max, h.Sum)
	}
}

func TestNothingCounted(t *testing.T) {
	if got := (&Histogram{}).Quantile(0.5); got != 0 {
		t.Errorf("%d", got)
	}
}
