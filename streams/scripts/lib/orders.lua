-- Shared by the scripts that read and write orders: hold and move.
-- KEYS and ARGV of both begin alike:
--
-- KEYS[1] stream whose entries are acknowledged   KEYS[2] log   KEYS[3] holds   KEYS[4] events
-- KEYS[5] in_progress   then B hashes of orders
-- ARGV[1] group   ARGV[2] channel for outcomes   ARGV[3] the branch that the caller takes the partition to have
-- ('' for none): if it has another one, nothing is changed   ARGV[4] B   then for each hash of orders the number
-- (1 to B) of the one in which are those of its event's orders that are from before the event was listed, 0 for none.
-- What follows, from FIRST on, is the operation's.
--
-- All keys are of one partition. Everything is read and decided before the first write, and every
-- key that is written has been read (so that a wrong type shows before anything has changed).
-- What a script costs is its redis.calls, its arguments and the strings and tables it makes.

local KEYS, ARGV = KEYS, ARGV -- locals are reached without a look-up
local match = string.match
local BRANCH, B = ARGV[3], tonumber(ARGV[4])
local FIRST = 5 + B

-- read_orders(hashes, members, others): the records of orders, false for one that is not there. hashes are the
-- numbers of their hashes, as they stand in ARGV; others[hash], if there is one, has the orders that a hash lacks.
local function read_orders(hashes, members, others)
  redis.call('XLEN', KEYS[1])
  redis.call('ZCARD', KEYS[3])
  if B == 1 then
    return redis.call('HMGET', KEYS[6], unpack(members))
  end
  local records, wanted = {}, {} -- by hash: positions of its orders
  for i = 1, #members do
    local list = wanted[hashes[i]]
    if list then
      list[#list + 1] = i
    else
      wanted[hashes[i]] = { i }
    end
  end
  local function read(hash, positions)
    local fields, missing = {}, {}
    for n = 1, #positions do
      fields[n] = members[positions[n]]
    end
    local found = redis.call('HMGET', KEYS[5 + hash], unpack(fields))
    for n = 1, #positions do
      records[positions[n]] = found[n]
      if not found[n] then
        missing[#missing + 1] = positions[n]
      end
    end
    return missing
  end
  for hash, positions in pairs(wanted) do
    local missing = read(hash, positions)
    if #missing > 0 and others[hash] then
      read(others[hash], missing)
    end
  end
  return records
end

-- write_orders(hashes, members, records): those that there are records for.
local function write_orders(hashes, members, records)
  local written = {}
  for i, record in pairs(records) do
    local list = written[hashes[i]]
    if not list then
      list = {}
      written[hashes[i]] = list
    end
    local n = #list
    list[n + 1], list[n + 2] = members[i], record
  end
  for hash, list in pairs(written) do
    redis.call('HSET', KEYS[5 + hash], unpack(list))
  end
end

-- notify(members): tells whoever waits which orders have changed; a notice names them, and nothing else. To ask
-- first who listens takes longer than to tell nobody. A notice that fails must not matter.
local function notify(members)
  if #members > 0 then
    redis.pcall('PUBLISH', ARGV[2], table.concat(members, '\n'))
  end
end

-- other_of(hash): the number of the hash that has what this one lacks; nil if there is none.
local function other_of(hash)
  local other = tonumber(ARGV[4 + hash])
  return other > 0 and other or nil
end

local SECTION = '^(%d+)|(%d+)|(%d+)|(%d+)|(%d+)([!|~%w]*)$' -- price, capacity, available, held, sold; and what no order changes

local function section_value(price, capacity, available, held, sold, tail)
  return price .. '|' .. capacity .. '|' .. available .. '|' .. held .. '|' .. sold .. tail
end

local CODE = '^([^|]+)|(%a)|(%d+)|(%d+)$' -- of an access code: allocation, state, uses (0 for any number), used
