-- Swarms in Redis: one call is one script, so that several trackers never see half of a change.
--
-- Under the prefix P:
--   P e            epoch, made when there is none
--   P q            zset, "swarm node" by the time at which it is forgotten
--   P n, P a       hashes, entries by node and by address
--   P s            hash, entries by swarm
--   P r:SWARM      hash, a node's row: isp, address, speech, part, seed, reachable, ordinary, session; then the entry
--   P c:SWARM      hash of numbers: ordinary, seeds, leeches, completions
--   P b:SWARM:SPEECH:PART        set of reachable nodes, and with :ISP those of one ISP
--   P i:SWARM:SPEECH:PART        hash, how many of them each ISP has
--   P l:SWARM:ADDRESS            set of reachable nodes behind an address
--
-- ARGV: prefix, what to do, now, epoch to set if there is none, then as each needs it.

local P, what, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
local call = redis.call

local function read(swarm, node)
  local row = call('HGET', P .. 'r:' .. swarm, node)
  if not row then return nil end
  local fields, at = {}, 1
  for _ = 1, 8 do
    local stop = string.find(row, '\t', at, true)
    fields[#fields + 1] = string.sub(row, at, stop - 1)
    at = stop + 1
  end
  fields[9] = string.sub(row, at)
  return fields
end

local function add(key, field, by)
  if call('HINCRBY', key, field, by) <= 0 then call('HDEL', key, field) end
end

local function file(swarm, node, row, by)
  add(P .. 'n', node, by)
  add(P .. 'a', row[2], by)
  add(P .. 's', swarm, by)
  local numbers = P .. 'c:' .. swarm
  call('HINCRBY', numbers, row[5] == '1' and 'seeds' or 'leeches', by)
  if row[7] == '1' then call('HINCRBY', numbers, 'ordinary', by) end
  if row[6] == '1' then
    local kind = swarm .. ':' .. row[3] .. ':' .. row[4]
    local put = by > 0 and 'SADD' or 'SREM'
    call(put, P .. 'b:' .. kind, node)
    call(put, P .. 'b:' .. kind .. ':' .. row[1], node)
    call(put, P .. 'l:' .. swarm .. ':' .. row[2], node)
    add(P .. 'i:' .. kind, row[1], by)
  end
end

local function take(swarm, node, row)
  file(swarm, node, row, -1)
  call('HDEL', P .. 'r:' .. swarm, node)
  call('ZREM', P .. 'q', swarm .. ' ' .. node)
  if call('HEXISTS', P .. 's', swarm) == 0 then call('DEL', P .. 'c:' .. swarm) end
end

local function expire()
  local gone = 0
  while true do
    local silent = call('ZRANGEBYSCORE', P .. 'q', '-inf', now, 'LIMIT', 0, 500)
    if #silent == 0 then return gone end
    for _, member in ipairs(silent) do
      local space = string.find(member, ' ', 1, true)
      local swarm, node = string.sub(member, 1, space - 1), string.sub(member, space + 1)
      take(swarm, node, read(swarm, node))
      gone = gone + 1
    end
  end
end

local function number(key, field) return tonumber(call('HGET', key, field) or 0) end

-- swarm, node, time of forgetting, limits (entries, swarms, nodes of a swarm, swarms of a node, entries of an address),
-- row as eight fields and the entry
local function announce()
  local swarm, node = ARGV[5], ARGV[6]
  local row = {}
  for index = 13, 21 do row[#row + 1] = ARGV[index] end
  local earlier = read(swarm, node)
  local verdict = 'listed'
  local ordinary = row[7] == '1'
  local newcomer = not earlier or earlier[7] == '0'
  if not earlier and call('ZCARD', P .. 'q') >= tonumber(ARGV[8]) then
    verdict = 'too many entries'
  elseif not earlier and call('HEXISTS', P .. 's', swarm) == 0 and call('HLEN', P .. 's') >= tonumber(ARGV[9]) then
    verdict = 'too many swarms'
  elseif ordinary and newcomer and number(P .. 'c:' .. swarm, 'ordinary') >= tonumber(ARGV[10]) then
    verdict = 'swarm full'
  elseif ordinary and newcomer and number(P .. 'n', node) >= tonumber(ARGV[11]) then
    verdict = 'node in too many swarms'
  elseif ordinary and (newcomer or earlier[2] ~= row[2]) and number(P .. 'a', row[2]) >= tonumber(ARGV[12]) then
    verdict = 'address has too many entries'
  end
  if earlier and verdict ~= 'listed' then
    take(swarm, node, earlier)
  elseif verdict == 'listed' then
    if earlier then
      if row[5] == '1' and earlier[5] == '0' and ordinary then
        call('HINCRBY', P .. 'c:' .. swarm, 'completions', 1)
      end
      file(swarm, node, earlier, -1)
    end
    file(swarm, node, row, 1)
    call('HSET', P .. 'r:' .. swarm, node, table.concat(row, '\t'))
    call('ZADD', P .. 'q', ARGV[7], swarm .. ' ' .. node)
  end
  return verdict
end

-- swarm, node, session
local function leave()
  local row = read(ARGV[5], ARGV[6])
  if not row or row[8] ~= ARGV[7] then return 0 end
  take(ARGV[5], ARGV[6], row)
  return 1
end

-- swarm, isp, address, how many inside, how many outside, then speeches and parts in question, joined by ':'
local function look()
  local swarm, isp, address = ARGV[5], ARGV[6], ARGV[7]
  local inside, outside = tonumber(ARGV[8]), tonumber(ARGV[9])
  local chosen, nodes = {}, {}
  local function choose(some)
    for _, node in ipairs(some) do
      if not chosen[node] then
        chosen[node] = true
        nodes[#nodes + 1] = node
      end
    end
  end
  if inside + outside > 0 then
    choose(call('SRANDMEMBER', P .. 'l:' .. swarm .. ':' .. address, 32))
    for index = 10, #ARGV do
      local kind = swarm .. ':' .. ARGV[index]
      local bag, counts = P .. 'b:' .. kind, P .. 'i:' .. kind
      local everybody = call('SCARD', bag)
      local own = 0
      if isp ~= '' then
        own = number(counts, isp)
        choose(call('SRANDMEMBER', bag .. ':' .. isp, inside + 1))
      end
      local others = everybody - own
      if others > 0 then
        if others >= everybody / 4 then
          choose(call('SRANDMEMBER', bag, math.ceil(1.5 * (outside + 2) * everybody / others)))
        end
        if own > 0 then
          -- What a draw from all may have missed, the rare ones, are looked for by their ISPs.
          for _, other in ipairs(call('HRANDFIELD', counts, 64)) do
            if other ~= isp then
              local share = math.ceil(2 * (outside + 1) * number(counts, other) / others)
              choose(call('SRANDMEMBER', bag .. ':' .. other, share))
            end
          end
        end
      end
    end
  end
  local entries = {}
  for _, node in ipairs(nodes) do entries[#entries + 1] = read(swarm, node)[9] end
  local numbers = P .. 'c:' .. swarm
  return { entries, number(numbers, 'seeds'), number(numbers, 'leeches'), number(numbers, 'completions') }
end

-- how many; some at random where there are more
local function summaries()
  local rows = {}
  for _, swarm in ipairs(call('HRANDFIELD', P .. 's', ARGV[5])) do
    local numbers = P .. 'c:' .. swarm
    rows[#rows + 1] = { swarm, number(numbers, 'seeds'), number(numbers, 'leeches') }
  end
  return rows
end

call('SET', P .. 'e', ARGV[4], 'NX')
local epoch = call('GET', P .. 'e')
local gone = expire()
local answer
if what == 'announce' then
  answer = announce()
elseif what == 'leave' then
  answer = leave()
elseif what == 'look' then
  answer = look()
elseif what == 'summaries' then
  answer = summaries()
elseif what == 'occupancy' then
  answer = { call('HLEN', P .. 's'), call('ZCARD', P .. 'q'), call('HLEN', P .. 'n') }
else
  answer = gone
end
return { epoch, answer }
