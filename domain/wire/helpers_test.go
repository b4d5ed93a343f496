package wire

import (
	"testing"

	"holdfast/domain"
)

func ptr[T any](v T) *T { return &v }

func testTerms() domain.Terms {
	return domain.Terms{
		Name: "An Evening", Currency: "EUR", MaxPerOrder: 6, OnSaleMillis: 1_000, OffSaleMillis: 90_000,
		Sections: []domain.SectionTerms{{Name: "general", Price: 1000, Capacity: 10}, {Name: "vip", Price: 5000, Capacity: 4}},
	}
}

func wantClass(t *testing.T, err error, want domain.Class) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one of class %s", want)
	}
	if got := domain.ClassOf(err); got != want {
		t.Errorf("class %s, want %s, of: %v", got, want, err)
	}
}
