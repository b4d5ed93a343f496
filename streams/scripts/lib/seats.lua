-- Shared by the scripts that take seats, and give them back.
--
-- A section's places are one string, a character for each, the best row first: '.' free, 'a' to 'z' free for an
-- allocation, '-' held, '+' sold, '!' and 'A' to 'Z' blocked, ' ' an aisle, '/' the end of a row. Which seats a
-- request gets is said by seats.Choose. A run is free seats of one allocation, side by side.
--
-- To make a string of thousands of characters anew for each request would cost more than all else, and so would to
-- look for free seats from its beginning. What a call changes is kept beside the string until it ends, and searches
-- go on where the one before ended: within a call runs only get shorter, and one that is suited again after a part
-- of it was taken is noted. A step of a search costs what string.find needs for it.
--
-- Lists of places are pairs, first and last, in ascending order, as records and facts say them: 17-19.25

-- use_seats(): the functions below, for a call that has to do with seats; to all others they would cost more than they do now.
local function use_seats()
  local seats = {}
  local find, byte, sub, gmatch = string.find, string.byte, string.sub, string.gmatch

  -- open(places): a section that seats are taken of in this call.
  function seats.open(places)
    return {
      places = places,
      now = {}, -- by place: the character that it has got since
      at = {}, count = 0, last = 0, ascending = true, -- places that were changed, as they came; some of them may be what they were
      behind = false, -- a place is free that is not in the string: before the next search it must be made anew
      kinds = {}, -- by allocation, and by how many seats are wanted: where searches go on
      lists = {}, -- by allocation: its kinds
    }
  end

  -- places_of(s): the string as it is now.
  function seats.places_of(s)
    if s.count == 0 then
      return s.places
    end
    local at, now, places = s.at, s.now, s.places
    if not s.ascending then
      table.sort(at)
    end
    local pieces, n, from = {}, 0, 1
    for k = 1, s.count do
      local i = at[k]
      local char = now[i]
      if char and i >= from then
        if i > from then
          n = n + 1
          pieces[n] = sub(places, from, i - 1)
        end
        n = n + 1
        pieces[n] = char
        from = i + 1
      end
    end
    pieces[n + 1] = sub(places, from)
    return table.concat(pieces)
  end

  local function refresh(s)
    if s.behind then
      local fresh = seats.open(seats.places_of(s))
      for name, value in pairs(fresh) do
        s[name] = value
      end
      s.changed = true
    end
  end

  -- changed(s): whether places are others than they were at first.
  function seats.changed(s)
    return s.changed or next(s.now) ~= nil
  end

  -- list_of(text), text_of(list): lists of places as text, in both directions.
  function seats.list_of(text)
    local list, n = {}, 0
    for first, last in gmatch(text, '(%d+)%-?(%d*)') do
      list[n + 1] = tonumber(first)
      list[n + 2] = last == '' and list[n + 1] or tonumber(last)
      n = n + 2
    end
    return list
  end

  function seats.text_of(list)
    local text
    for k = 1, #list, 2 do
      local said = list[k] == list[k + 1] and list[k] or list[k] .. '-' .. list[k + 1]
      text = text and text .. '.' .. said or said
    end
    return tostring(text or '')
  end

  -- add(list, i): one more place, behind the others or the last of them again.
  local function add(list, i)
    local n = #list
    if n > 0 and list[n] >= i - 1 then
      list[n] = i
    else
      list[n + 1], list[n + 2] = i, i
    end
  end

  -- free(s, i, code): whether a place is free for an allocation.
  local function free(s, i, code)
    return not s.now[i] and byte(s.places, i) == code
  end

  -- run_length(s, from, code, most): how many are free from a place on, at most so many.
  local function run_length(s, from, code, most)
    local n = 0
    while n < most and free(s, from + n, code) do
      n = n + 1
    end
    return n
  end

  -- run_start(s, i, code): the first place of a run that ends before i; i if there is none.
  local function run_start(s, i, code)
    while free(s, i - 1, code) do
      i = i - 1
    end
    return i
  end

  -- kind_of(s, mark, n): where searches for so many seats of an allocation go on.
  local function kind_of(s, mark, n)
    local kinds = s.kinds[mark]
    if not kinds then
      kinds = {}
      s.kinds[mark], s.lists[mark] = kinds, {}
    end
    local kind = kinds[n]
    if not kind then
      kind = {
        n = n, code = byte(mark), run = string.rep(mark, n),
        suited = 1, -- no run that begins before it leaves none alone, but for those in opened
        opened = {}, -- first places of runs that are so since a part of them was taken
        any = 1, -- no run that begins before it is long enough
      }
      kinds[n] = kind
      local list = s.lists[mark]
      list[#list + 1] = kind
    end
    return kind
  end

  -- next_run(s, kind, from): the first run of n seats or more from a place on that is a run's first, or in none.
  local function next_run(s, kind, from)
    local places, now, run, n = s.places, s.now, kind.run, kind.n
    while true do
      local first = find(places, run, from, true)
      if not first then
        return nil
      end
      local taken
      for i = first + n - 1, first, -1 do
        if now[i] then
          taken = i
          break
        end
      end
      if not taken then
        return first
      end
      from = taken + 1
    end
  end

  -- suited(s, kind): the first place of the first run of which n can be taken that leaves none alone.
  local function suited(s, kind)
    local opened, n, code = kind.opened, kind.n, kind.code
    while #opened > 0 do
      local k = 1
      for i = 2, #opened do
        if opened[i] < opened[k] then
          k = i
        end
      end
      local first = opened[k]
      if first >= kind.suited then
        break -- the search comes to it
      end
      local length = run_length(s, first, code, n + 2)
      if (length == n or length == n + 2) and not free(s, first - 1, code) then
        return first
      end
      table.remove(opened, k)
    end
    local from = kind.suited
    while true do
      local first = next_run(s, kind, from)
      if not first then
        kind.suited = #s.places + 1
        return nil
      end
      local behind = first + n
      if not free(s, behind, code) or free(s, behind + 1, code) then
        kind.suited = first
        return first
      end
      from = behind + 1
    end
  end

  local function set(s, first, last, char)
    local now, at, count = s.now, s.at, s.count
    for i = first, last do
      now[i] = char
      count = count + 1
      at[count] = i
    end
    s.count = count
    if first <= s.last then
      s.ascending = false
    end
    s.last = last
  end

  -- shortened(s, mark, first, last): of a run these were taken. What is left of it, on either side, may suit others.
  local function shortened(s, mark, first, last)
    local list = s.lists[mark]
    if not list then
      return
    end
    local code = byte(mark)
    local left, right = run_start(s, first, code), last + 1
    for k = 1, #list do
      local kind = list[k]
      for from = left, right, right - left do
        if from < kind.suited then
          local length = run_length(s, from, code, kind.n + 2)
          if length == kind.n or length == kind.n + 2 then
            kind.opened[#kind.opened + 1] = from
          end
        end
      end
    end
  end

  -- take_best(s, mark, n, adjacent, char): takes the best n seats that are free for an allocation, and makes them char.
  -- Returns their list; nil and the reason if there are none, and then nothing changed.
  function seats.take_best(s, mark, n, adjacent, char)
    refresh(s)
    local kind = kind_of(s, mark, n)
    local first = suited(s, kind)
    if not first then
      first = next_run(s, kind, kind.any)
      kind.any = first or #s.places + 1
    end
    if first then
      local last = first + n - 1
      set(s, first, last, char)
      shortened(s, mark, first, last)
      return { first, last }
    end
    local single = kind_of(s, mark, 1)
    local list, found, from = {}, 0, single.any
    while found < n do
      local i = next_run(s, single, from)
      if not i then
        return nil, 'sold_out'
      end
      add(list, i)
      found, from = found + 1, i + 1
    end
    if adjacent then
      return nil, 'no_adjacent_seats'
    end
    single.any = from
    for k = 1, #list, 2 do
      set(s, list[k], list[k + 1], char)
      shortened(s, mark, list[k], list[k + 1])
    end
    return list
  end

  -- take_named(s, list, mark, strict, char): takes these seats, if all are free for an allocation, and makes them char. If
  -- strict, no seat may be left alone beside them.
  -- Returns nothing; the reason and the list of places that are in the way, or would be alone, if it does not take
  -- them, and then nothing changed.
  function seats.take_named(s, list, mark, strict, char)
    refresh(s)
    local code = byte(mark)
    local because
    for k = 1, #list, 2 do
      for i = list[k], list[k + 1] do
        if not free(s, i, code) then
          because = because or {}
          add(because, i)
        end
      end
    end
    if because then
      return 'seat_taken', because
    end
    for k = 1, #list, 2 do
      set(s, list[k], list[k + 1], char)
    end
    if strict then
      for k = 1, #list, 2 do
        local before, behind = list[k] - 1, list[k + 1] + 1
        if free(s, before, code) and not free(s, before - 1, code) then
          because = because or {}
          add(because, before)
        end
        if free(s, behind, code) and not free(s, behind + 1, code) then
          because = because or {}
          add(because, behind)
        end
      end
      if because then
        for k = 1, #list, 2 do
          for i = list[k], list[k + 1] do
            s.now[i] = nil
          end
        end
        return 'would_leave_orphan', because
      end
    end
    for k = 1, #list, 2 do
      shortened(s, mark, list[k], list[k + 1])
    end
  end

  -- change(s, list, from, to): makes of places that are one character another one. Returns nothing, or the first place that is
  -- another one, and then nothing changed.
  function seats.change(s, list, from, to)
    local places, now, was, will = s.places, s.now, byte(from), byte(to)
    for k = 1, #list, 2 do
      for i = list[k], list[k + 1] do
        local is = now[i]
        if is and is ~= from or not is and byte(places, i) ~= was then
          return i
        end
      end
    end
    for k = 1, #list, 2 do
      set(s, list[k], list[k + 1], to)
      for i = list[k], list[k + 1] do
        if byte(places, i) == will then
          now[i] = nil -- taken in this call, and given back
        else
          s.behind = true
        end
      end
      if s.lists[to] then
        local start = run_start(s, list[k], will)
        for _, kind in ipairs(s.lists[to]) do
          kind.suited, kind.any = math.min(kind.suited, start), math.min(kind.any, start)
        end
      end
    end
  end

  return seats
end
