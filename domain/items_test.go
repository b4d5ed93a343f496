package domain

import (
	"slices"
	"testing"
)

func TestItems(t *testing.T) {
	list := []Item{{Section: "balcony", Quantity: 2, UnitPrice: 3000}, {Section: "stalls", Quantity: 1, UnitPrice: 4500}}
	items := ItemsOf(list...)
	if items != "balcony:2:3000,stalls:1:4500" || items.Len() != 2 || items.Quantity() != 3 || items.Amount() != 10_500 || items.Sections() != "balcony,stalls" || items.UnitPrice() != 0 {
		t.Errorf("%s: %d, %d places, %d, %s, %d", items, items.Len(), items.Quantity(), items.Amount(), items.Sections(), items.UnitPrice())
	}
	if got := slices.Collect(items.All()); !slices.Equal(got, list) {
		t.Errorf("got %+v", got)
	}
	for item := range items.All() {
		if item != list[0] {
			t.Errorf("did not stop at the first: %+v", item)
		}
		break
	}
	if one := ItemsOf(list[0]); one.Len() != 1 || one.Sections() != "balcony" || one.UnitPrice() != 3000 {
		t.Errorf("%s: %d, %s, %d", one, one.Len(), one.Sections(), one.UnitPrice())
	}
	if none := ItemsOf(); none != "" || none.Len() != 0 || none.Amount() != 0 || none.Sections() != "" || none.UnitPrice() != 0 {
		t.Errorf("none: %q", none)
	}
	seated := ItemsOf(Item{Section: "stalls", Quantity: 4, UnitPrice: 10, Places: "17-19.25"})
	if got := slices.Collect(seated.All()); seated != "stalls:4:10:17-19.25" || got[0].Places != "17-19.25" || seated.UnitPrice() != 10 || seated.Sections() != "stalls" {
		t.Errorf("%q is %+v", seated, got)
	}
	if items.Seated() || !seated.Seated() || Items("").Seated() {
		t.Error("seated, or not")
	}
}

func TestParseItems(t *testing.T) {
	for text, ok := range map[string]bool{
		"": true, "a:1:0": true, ":0:0": true, "a:1:0,b:2:9007199254740991": true, "a:7:1286742750677284": true,
		"a": false, "a:1": false, "a:1:": false, "a:x:1": false, "a:1:x": false, "a:1:1:1": true, "a:4:1:17-19.25": true, "a:4:1:17-19.25,b:1:1": true, "a:1:1:": false, "a:2:1:1": false, "a:1:1:x": false, "a:2:1:2.1": false, "a:1:1:1:1": false, "a:-1:1": false, "a:1:-1": false, ",": false, "a:1:1,": false,
		"b:1:1,a:1:1": false, "a:1:1,a:1:1": false, "a:1000000:9007199254740991": false, "a:1023:9007199254740991,b:1023:9007199254740991": false,
		"a:1:1,b:1:1,c:1:1,d:1:1,e:1:1,f:1:1,g:1:1,h:1:1,i:1:1,j:1:1,k:1:1,l:1:1,m:1:1,n:1:1,o:1:1,p:1:1,q:1:1,r:1:1,s:1:1,t:1:1":       true,
		"a:1:1,b:1:1,c:1:1,d:1:1,e:1:1,f:1:1,g:1:1,h:1:1,i:1:1,j:1:1,k:1:1,l:1:1,m:1:1,n:1:1,o:1:1,p:1:1,q:1:1,r:1:1,s:1:1,t:1:1,u:1:1": false,
	} {
		if got, is := ParseItems(text); is != ok || ok && string(got) != text {
			t.Errorf("%q: got %q, %v", text, got, is)
		}
	}
}

// FuzzParseItems: what is read is written as it was but for the form of its numbers, and can be counted.
func FuzzParseItems(f *testing.F) {
	for _, text := range []string{"", "a:1:0", "a:1:0,b:2:9007199254740991", "a:01:0", "a:1:0,a:1:0", "a:4:1:17-19.25"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		items, ok := ParseItems(text)
		if !ok {
			return
		}
		list := slices.Collect(items.All())
		again, ok := ParseItems(string(ItemsOf(list...)))
		if !ok || !slices.Equal(slices.Collect(again.All()), list) || len(list) != items.Len() || items.Amount() < 0 {
			t.Errorf("%q is read as %+v and written as %q", text, list, again)
		}
	})
}
