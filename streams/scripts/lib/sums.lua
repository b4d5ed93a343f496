-- Sums of decimal numbers up to 2^63-1. Doubles are exact up to 2^53 only, so they are counted in two
-- parts, of which the lower has LOW_DIGITS digits.

local LOW_DIGITS = 12
local LOW = 10 ^ LOW_DIGITS

local function parts(digits)
  local sign, rest = string.match(digits, '^(-?)(%d+)$')
  sign = sign == '-' and -1 or 1
  return sign * (tonumber(string.sub(rest, 1, -LOW_DIGITS - 1)) or 0), sign * tonumber(string.sub(rest, -LOW_DIGITS))
end

-- sum(a, b): a + b, where b may be negative; an error if that is below 0 or past 2^63-1.
local function sum(a, b)
  if #a <= LOW_DIGITS and #b <= LOW_DIGITS then -- so it nearly always is
    local low = tonumber(a) + tonumber(b)
    if low >= 0 then
      return string.format('%d', low)
    end
  end
  local high, low = parts(a)
  local more_high, more_low = parts(b)
  low = low + more_low
  local rest = low % LOW -- also where low is below 0, from 0 to LOW - 1
  high = high + more_high + (low - rest) / LOW
  if high < 0 or high > 9223372 or high == 9223372 and rest > 36854775807 then
    error(a .. ' + ' .. b .. ' would go below 0 or past 9223372036854775807')
  end
  return high == 0 and string.format('%.0f', rest) or string.format('%.0f%012.0f', high, rest)
end
