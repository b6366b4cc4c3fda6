package app

import "testing"

func TestASmallHeapMayGrowToTheFloorAndALargeOneAsEver(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 2300, 2 << 20: 1100, 8 << 20: 200, 12 << 20: 100, 100 << 20: 100,
	} {
		if got := heapPercent(live); got != want {
			t.Errorf("%d bytes in use: %d %%, want %d", live, got, want)
		}
	}
}
