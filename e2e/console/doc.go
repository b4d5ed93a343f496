// Package console tests the pages of holdfast in a real browser, on a real "holdfast dev": drive.mjs does what people do, and says what it saw.
package console
