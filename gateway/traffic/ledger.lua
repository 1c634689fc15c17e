-- ledger.py for Redis: a batch of demands and refunds in one step, on Redis's own clock.
-- ARGV[1]: the holder. ARGV[2]: how many ms it is taken for alive. ARGV[3]: msgpack of
-- {renews, held, takes, gives}. Returns msgpack of {holders alive, verdicts}.
local SLOT, SLOTS, BUSY = 480, 125, 1000
local CONCURRENT = 2
local PREFIX = '{gateway}:'
local ALIVE = PREFIX .. 'alive'
local holder, lease_ms = ARGV[1], tonumber(ARGV[2])
local batch = cmsgpack.unpack(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local slot = math.floor(now / SLOT)

local function ends_in(s) return math.max(1, (s + SLOTS + 1) * SLOT - now) end

-- A window is a hash: slots by number, `t` their sum, `o` the oldest that may be there.
local function total_of(key)
  local told = redis.call('HMGET', key, 't', 'o')
  local total, oldest = tonumber(told[1] or 0), tonumber(told[2] or slot)
  local first = slot - SLOTS
  if oldest >= first then return total, oldest end
  if first - oldest > SLOTS or total == 0 then
    redis.call('DEL', key)
    return 0, slot
  end
  for s = oldest, first - 1 do
    local amount = redis.call('HGET', key, s)
    if amount then
      total = total - amount
      redis.call('HDEL', key, s)
    end
  end
  redis.call('HSET', key, 't', total, 'o', first)
  return total, first
end

local function add(key, amount)
  if amount == 0 then return end
  local _, oldest = total_of(key)
  redis.call('HINCRBY', key, slot, amount)
  redis.call('HINCRBY', key, 't', amount)
  redis.call('HSET', key, 'o', oldest)
  redis.call('PEXPIRE', key, (SLOTS + 2) * SLOT)
end

local function window_wait(key, amount, need)
  if need > amount then return -1 end
  local total, oldest = total_of(key)
  local excess = total + need - amount
  if excess <= 0 then return 0 end
  for s = oldest, slot do
    excess = excess - tonumber(redis.call('HGET', key, s) or 0)
    if excess <= 0 then return ends_in(s) end
  end
  return 1
end

local function reset_in(key, total, oldest)
  if total == 0 then return 0 end
  for s = slot, oldest, -1 do
    if redis.call('HEXISTS', key, s) == 1 then return ends_in(s) end
  end
  return 0
end

local function held_of(key)
  local told, held = redis.call('HGETALL', key), 0
  for i = 1, #told, 2 do
    local until_ms = redis.call('ZSCORE', ALIVE, told[i])
    if until_ms and tonumber(until_ms) > now then
      held = held + told[i + 1]
    else
      redis.call('HDEL', key, told[i])
    end
  end
  return held
end

local function hold(key, number)
  if number > 0 then
    redis.call('HSET', key, holder, number)
    redis.call('PEXPIRE', key, 3600000)
  else
    redis.call('HDEL', key, holder)
  end
end

local function wait_of(demand)
  local key, kind, amount, need = PREFIX .. demand[1], demand[2], demand[3], demand[4]
  if kind ~= CONCURRENT then return window_wait(key, amount, need) end
  if held_of(key) + need > amount then return BUSY end
  return 0
end

local function state_of(demand)
  local key, kind, amount = PREFIX .. demand[1], demand[2], demand[3]
  if kind == CONCURRENT then return {math.max(0, amount - held_of(key)), 0} end
  local total, oldest = total_of(key)
  return {math.max(0, amount - total), reset_in(key, total, oldest)}
end

local function take(demands)
  local broken, retry = -1, 0
  for number, demand in ipairs(demands) do
    retry = wait_of(demand)
    if retry ~= 0 then broken = number - 1 break end
  end
  if broken == -1 then
    for _, demand in ipairs(demands) do
      local key = PREFIX .. demand[1]
      if demand[2] == CONCURRENT then
        hold(key, tonumber(redis.call('HGET', key, holder) or 0) + demand[4])
      else
        add(key, demand[4])
      end
    end
  end
  local states = {}
  for number, demand in ipairs(demands) do states[number] = state_of(demand) end
  return {broken, retry, slot, states}
end

local function give(refund)
  local key, kind, s, extra = PREFIX .. refund[1], refund[2], refund[3], refund[4]
  if kind == CONCURRENT then
    hold(key, tonumber(redis.call('HGET', key, holder) or 0) + extra)
  elseif extra > 0 then
    add(key, extra)
  elseif redis.call('HEXISTS', key, s) == 1 and s >= slot - SLOTS then
    local back = math.min(-extra, tonumber(redis.call('HGET', key, s)))
    redis.call('HINCRBY', key, s, -back)
    redis.call('HINCRBY', key, 't', -back)
  end
end

redis.call('ZADD', ALIVE, now + lease_ms, holder)
if batch[1] then
  redis.call('ZREMRANGEBYSCORE', ALIVE, '-inf', now)
  for name, number in pairs(batch[2]) do hold(PREFIX .. name, number) end
end
for _, refund in ipairs(batch[4]) do give(refund) end
local verdicts = {}
for number, demands in ipairs(batch[3]) do verdicts[number] = take(demands) end
return cmsgpack.pack({redis.call('ZCARD', ALIVE), verdicts})
