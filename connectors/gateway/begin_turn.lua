-- The turn of a request with an idempotency key, atomically: what connectors/gateway/sqlite_turns.py does in a file.
--
-- KEYS   1 the turn
-- ARGV   1 fingerprint, 2 lease (ms), 3 how long it is kept (ms), 4 time (ms; 0: this server's)
-- Answer {state, begun, answer}; state: 0 new, 1 resumed, 2 running, 3 other, 4 done

local lease, kept, now = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if now == 0 then
  local told = redis.call('TIME')
  now = tonumber(told[1]) * 1000 + math.floor(tonumber(told[2]) / 1000)
end

local row = redis.call('HMGET', KEYS[1], 'fingerprint', 'begun', 'leased', 'answer')
local begun = tonumber(row[2])
if not row[1] or begun + kept <= now then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'begun', string.format('%.0f', now),
    'leased', string.format('%.0f', now + lease))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {0, now, ''}
end
if row[1] ~= ARGV[1] then
  return {3, begun, ''}
end
if row[4] then
  return {4, begun, row[4]}
end
if tonumber(row[3]) > now then
  return {2, begun, ''}
end
redis.call('HSET', KEYS[1], 'leased', string.format('%.0f', now + lease))
return {1, begun, ''}
