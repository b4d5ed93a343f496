package domain

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxAmount bounds every amount, and every product of a price and a capacity:
// Redis's Lua counts in float64, which is exact up to 2^53. What an event earns over
// all its prices may be more: its revenue is counted exactly up to 2^63-1.
const MaxAmount = 1<<53 - 1

// currencyDigits says how many digits a currency has after the point. It is list one of
// ISO 4217 as its maintenance agency, SIX, published it on 2026-09-17 (amendments up to 180).
// Left out are what nobody is paid in: codes without a minor unit (metals, bond markets units,
// XDR, XSU, XUA, XTS, XXX), and funds (BOV, CHE, CHW, CLF, COU, MXV, USN, UYI, XAD).
var currencyDigits = digitsOf(map[int]string{
	0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
	2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE " +
		"CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR " +
		"KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB " +
		"PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY " +
		"TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
	3: "BHD IQD JOD KWD LYD OMR TND",
	4: "UYW",
})

// fundDigits are those of the funds that have others than two: events were once created in them.
var fundDigits = digitsOf(map[int]string{0: "UYI", 4: "CLF"})

func digitsOf(lists map[int]string) map[string]int {
	digits := make(map[string]int)
	for n, list := range lists {
		for code := range strings.FieldsSeq(list) {
			digits[code] = n
		}
	}
	return digits
}

// ValidCurrency reports whether c has the form of an ISO 4217 code: three capital letters.
// It is what may be stored: events created before CheckCurrency was, or in a currency that has
// been withdrawn since, go on being sold and paid.
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

// CheckCurrency says why no event can be created in a currency; nil if one can.
func CheckCurrency(c string) error {
	if !ValidCurrency(c) {
		return fmt.Errorf("currency %q: want an ISO 4217 code such as EUR", c)
	}
	if _, listed := currencyDigits[c]; !listed {
		return fmt.Errorf("currency %q: none that ISO 4217 lists as in use and with a minor unit", c)
	}
	return nil
}

// currencyExponent is how many digits a currency has after the point: two, if nobody knows it.
func currencyExponent(currency string) int {
	if n, listed := currencyDigits[currency]; listed {
		return n
	}
	if n, fund := fundDigits[currency]; fund {
		return n
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
