package domain

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxAmount bounds every amount, and every product of a price and a capacity:
// Redis's Lua counts in float64, which is exact up to 2^53.
const MaxAmount = 1<<53 - 1

// currencyExponents lists the ISO 4217 currencies whose minor unit is not a hundredth.
var currencyExponents = map[string]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0,
	"PYG": 0, "RWF": 0, "UGX": 0, "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
	"CLF": 4, "UYW": 4,
}

// ValidCurrency reports whether c has the form of an ISO 4217 code: three capital letters.
func ValidCurrency(c string) bool {
	if len(c) != 3 {
		return false
	}
	for i := range len(c) {
		if c[i] < 'A' || c[i] > 'Z' {
			return false
		}
	}
	return true
}

func currencyExponent(currency string) int {
	if e, ok := currencyExponents[currency]; ok {
		return e
	}
	return 2
}

// FormatAmount writes minor units the way people read them: 1050 EUR is "10.50", 1050 JPY is "1050".
func FormatAmount(amount int64, currency string) string {
	exponent := currencyExponent(currency)
	digits := strconv.FormatInt(amount, 10)
	if exponent == 0 {
		return digits
	}
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if missing := exponent + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - exponent
	return sign + digits[:point] + "." + digits[point:]
}

// ParseAmount reads what people write ("10", "10.5", "10.50") into minor units.
// It refuses signs, exponents and digits that the currency does not have.
func ParseAmount(s, currency string) (int64, error) {
	exponent := currencyExponent(currency)
	whole, fraction, hasPoint := strings.Cut(s, ".")
	if !isDigits(whole) || hasPoint && !isDigits(fraction) {
		return 0, fmt.Errorf("amount %q: want digits, such as 10 or 10.50", s)
	}
	if len(fraction) > exponent {
		return 0, fmt.Errorf("amount %q: %s has %d digits after the point", s, currency, exponent)
	}
	amount, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", exponent-len(fraction)), 10, 64)
	if err != nil || amount > MaxAmount {
		return 0, fmt.Errorf("amount %q: too large", s)
	}
	return amount, nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) > 0
}
