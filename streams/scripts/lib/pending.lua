-- Shared by the scripts that touch a consumer's pending entries.

-- own_entries(stream, group, consumer): how long each entry that is pending for this consumer has
-- been idle, in milliseconds, by its id. Bounded by what one consumer may have in flight; read in pages all the same.
local function own_entries(stream, group, consumer)
  local own, from = {}, '-'
  repeat
    local page = redis.call('XPENDING', stream, group, from, '+', 1000, consumer)
    for _, entry in ipairs(page) do
      own[entry[1]] = entry[3]
    end
    if #page > 0 then
      from = '(' .. page[#page][1]
    end
  until #page < 1000
  return own
end

-- claim(stream, group, consumer, ids, ...): XCLAIM in chunks that fit Lua's stack.
local function claim(stream, group, consumer, ids, ...)
  for first = 1, #ids, 1000 do
    local args = {}
    for i = first, math.min(first + 999, #ids) do
      args[#args + 1] = ids[i]
    end
    for _, option in ipairs({ ... }) do
      args[#args + 1] = option
    end
    redis.call('XCLAIM', stream, group, consumer, 0, unpack(args))
  end
end
