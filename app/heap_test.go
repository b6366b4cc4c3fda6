package app

import "testing"

func TestASmallHeapMayGrowToTheFloorAndALargeOneAsEver(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 4700, 2 << 20: 2300, 16 << 20: 200, 24 << 20: 100, 100 << 20: 100,
	} {
		if got := heapPercent(live); got != want {
			t.Errorf("%d bytes in use: %d %%, want %d", live, got, want)
		}
	}
}
