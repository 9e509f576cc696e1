-- One request against all limits of the gateway, atomically: what connectors/gateway/limits.py does in one process.
-- Lua's numbers are doubles: every value and every product here stays below 2^53, and so exact.
--
-- KEYS   1 the agent's bucket, 2 the tenant's, 3 runs that go on, 4 runs that wait by arrival, 5 the same by end
-- ARGV   1 time (us; 0: this server's), 2 cost, 3 and 4 interval (us) and capacity of the agent's bucket, 5 and 6 of
--        the tenant's, 7 the run ('' for none), 8 runs at once, 9 runs that may wait, 10 lease (us), 11 wait (us)
-- Answer {admitted, bound, remaining, retry after (us, -1: none), reset (us), place (-1: none)};
--        bound: 1 bucket, 2 plan, 3 running, 4 queue

local BUCKET, PLAN, RUNNING, QUEUE = 1, 2, 3, 4
local now, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local run = ARGV[7]
local most, queue, lease, wait = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])

-- What is over is forgotten by this server's clock; one that follows another time may go slower.
local spare = 3600000
if now == 0 then
  spare = 0
  local told = redis.call('TIME')
  now = tonumber(told[1]) * 1000000 + tonumber(told[2])
end

local function whole(number)
  return string.format('%.0f', number)
end

local function bucket(key, interval, capacity)
  local told = redis.call('GET', key)
  if not told then
    return {key = key, interval = interval, capacity = capacity, tat = now}
  end
  local split = string.find(told, ':', 1, true)
  local tat, before = tonumber(string.sub(told, 1, split - 1)), tonumber(string.sub(told, split + 1))
  if before ~= interval then
    -- What is owed is owed at the new speed; quotient and rest apart, for their product would not fit.
    local owed = math.max(0, tat - now)
    local rest = owed % before
    tat = now + (owed - rest) / before * interval + math.floor(rest * interval / before)
  end
  return {key = key, interval = interval, capacity = capacity, tat = tat}
end

local function slack(b, units)
  return (b.capacity - units) * b.interval - math.max(0, b.tat - now)
end

local function remaining(b)
  local left = slack(b, 1)
  if left < 0 then
    return 0
  end
  return math.floor(left / b.interval) + 1
end

local function take(b)
  b.tat = math.max(b.tat, now) + cost * b.interval
  local forget = math.ceil((b.tat - now) / 1000) + 1 + spare
  redis.call('SET', b.key, whole(b.tat) .. ':' .. whole(b.interval), 'PX', whole(forget))
end

local function keep(key, us)
  local forget = math.ceil(us / 1000) + spare
  if redis.call('PTTL', key) < forget then
    redis.call('PEXPIRE', key, whole(forget))
  end
end

-- 1. The run: does it go on, is there room for it, is it its turn?
local waits = false
if run ~= '' then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', whole(now))
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', whole(now))) do
    redis.call('ZREM', KEYS[4], gone)
    redis.call('ZREM', KEYS[5], gone)
  end
  if not redis.call('ZSCORE', KEYS[3], run) then
    local place = redis.call('ZRANK', KEYS[4], run)
    waits = place and true
    place = place or redis.call('ZCARD', KEYS[4])
    local free = most - redis.call('ZCARD', KEYS[3])
    if place >= queue and place >= free then
      return {0, QUEUE, 0, -1, 0, -1}
    end
    if waits or place >= free then
      if not waits then
        local last = redis.call('ZREVRANGE', KEYS[4], 0, 0, 'WITHSCORES')
        redis.call('ZADD', KEYS[4], whole((tonumber(last[2]) or 0) + 1), run)
      end
      redis.call('ZADD', KEYS[5], whole(now + wait), run)
      keep(KEYS[4], wait)
      keep(KEYS[5], wait)
    end
    if place >= free then
      return {0, RUNNING, 0, -1, 0, place}
    end
  end
end

-- 2. Both buckets must hold the request before either is charged.
local own = bucket(KEYS[1], tonumber(ARGV[3]), tonumber(ARGV[4]))
local plan = bucket(KEYS[2], tonumber(ARGV[5]), tonumber(ARGV[6]))
for bound, b in ipairs({own, plan}) do
  local left = slack(b, cost)
  if left < 0 then
    local retry = -1
    if cost <= b.capacity then
      retry = -left
    end
    return {0, bound, remaining(b), retry, math.max(0, b.tat - now), -1}
  end
end

-- 3. Charge them, and let the run go on.
take(own)
take(plan)
if run ~= '' then
  redis.call('ZREM', KEYS[4], run)
  redis.call('ZREM', KEYS[5], run)
  redis.call('ZADD', KEYS[3], whole(now + lease), run)
  keep(KEYS[3], lease)
end
if remaining(plan) < remaining(own) then
  return {1, PLAN, remaining(plan), 0, plan.tat - now, -1}
end
return {1, BUCKET, remaining(own), 0, own.tat - now, -1}
