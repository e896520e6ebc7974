-- A Wireshark dissector for SPOP, the protocol between HAProxy and its SPOE agents (HAProxy's doc/SPOE.txt, section 3).
--
--   tshark -X lua_script:config/wireshark/spop.lua -r FILE.pcapng -Y spop
--   Wireshark: put this file into the folder for personal Lua plugins (Help, About, Folders).
--
-- It takes TCP port 12345 (preferences: spop.port) and, on any other port, what looks like SPOP. Frames that lie in several
-- segments are put together. What no SPOP frame can be is shown as such; it is never guessed at.

local spop = Proto("spop", "SPOP (HAProxy Stream Processing Offload)")

local TYPES = {
    [0] = "UNSET", [1] = "HAPROXY-HELLO", [2] = "HAPROXY-DISCONNECT", [3] = "NOTIFY",
    [101] = "AGENT-HELLO", [102] = "AGENT-DISCONNECT", [103] = "ACK",
}
local KINDS = {
    [0] = "NULL", [1] = "BOOL", [2] = "INT32", [3] = "UINT32", [4] = "INT64", [5] = "UINT64", [6] = "IPV4", [7] = "IPV6",
    [8] = "STRING", [9] = "BINARY",
}
local ACTIONS = { [1] = "set-var", [2] = "unset-var" }
local SCOPES = { [0] = "proc", [1] = "sess", [2] = "txn", [3] = "req", [4] = "res" }
local LENGTH_BYTES, MIN_LENGTH, MAX_LENGTH = 4, 7, 1048576

local f = {
    length = ProtoField.uint32("spop.length", "Length"),
    type = ProtoField.uint8("spop.type", "Type", base.DEC, TYPES),
    flags = ProtoField.uint32("spop.flags", "Flags", base.HEX),
    fin = ProtoField.bool("spop.flags.fin", "FIN", 32, nil, 0x1),
    abort = ProtoField.bool("spop.flags.abrt", "ABRT", 32, nil, 0x2),
    stream_id = ProtoField.uint64("spop.stream_id", "Stream-id"),
    frame_id = ProtoField.uint64("spop.frame_id", "Frame-id"),
    pair = ProtoField.none("spop.kv", "Pair"),
    name = ProtoField.string("spop.kv.name", "Name"),
    kind = ProtoField.uint8("spop.kv.type", "Type", base.DEC, KINDS, 0x0f),
    text = ProtoField.string("spop.kv.string", "Value"),
    binary = ProtoField.bytes("spop.kv.binary", "Value"),
    number = ProtoField.int64("spop.kv.number", "Value"),
    boolean = ProtoField.bool("spop.kv.bool", "Value", 8, nil, 0x10),
    ipv4 = ProtoField.ipv4("spop.kv.ipv4", "Value"),
    ipv6 = ProtoField.ipv6("spop.kv.ipv6", "Value"),
    message = ProtoField.string("spop.message", "Message"),
    count = ProtoField.uint8("spop.message.args", "Arguments"),
    action = ProtoField.uint8("spop.action", "Action", base.DEC, ACTIONS),
    args = ProtoField.uint8("spop.action.args", "Arguments"),
    scope = ProtoField.uint8("spop.action.scope", "Scope", base.DEC, SCOPES),
    variable = ProtoField.string("spop.action.name", "Variable"),
    fragment = ProtoField.bytes("spop.fragment", "Fragment"),
    rest = ProtoField.bytes("spop.rest", "Bytes that cannot be read"),
}
spop.fields = f

local wrong = ProtoExpert.new("spop.wrong", "Not as SPOP has it", expert.group.PROTOCOL, expert.severity.WARN)
spop.experts = { wrong }
spop.prefs.port = Pref.uint("TCP port", 12345, "Where HAProxy finds its agent, or the guard")

-- Return the integer at pos (UInt64) and the position behind it; nil where it does not end in time (intops.h, decode_varint).
local function varint(buf, pos)
    if pos >= buf:len() then return nil end
    local first = buf(pos, 1):uint()
    local value, at = UInt64(first), pos + 1
    if first < 240 then return value, at end
    local shift = 4
    while at < buf:len() and at < pos + 10 do
        local byte = buf(at, 1):uint()
        value = value + UInt64(byte):lshift(shift)
        at, shift = at + 1, shift + 7
        if byte < 128 then return value, at end
    end
    return nil
end

-- Return where the string at pos begins and ends; nil where it does not fit.
local function text_at(buf, pos)
    local length, at = varint(buf, pos)
    if not length or length > UInt64(buf:len() - at) then return nil end
    return at, at + length:tonumber()
end

local function add_text(tree, field, buf, from, to)
    return tree:add(field, to > from and buf(from, to - from) or buf(from - 1, 0), to > from and buf(from, to - from):string() or "")
end

-- Add the typed value at pos; return the position behind it and a word for it, or nil.
local function value(tree, buf, pos)
    if pos >= buf:len() then return nil end
    local kind = bit.band(buf(pos, 1):uint(), 0x0f)
    local after, field, from = pos + 1, nil, pos + 1
    if kind == 1 then
        tree:add(f.kind, buf(pos, 1))
        tree:add(f.boolean, buf(pos, 1))
        return after, tostring(buf(pos, 1):uint() == 0x11)
    elseif kind == 0 then
        tree:add(f.kind, buf(pos, 1))
        return after, "null"
    elseif kind <= 5 then
        local number, behind = varint(buf, pos + 1)
        if not number then return nil end
        tree:add(f.kind, buf(pos, 1))
        local signed = Int64(number:lower(), number:higher())
        tree:add(f.number, buf(pos + 1, behind - pos - 1), signed)
        return behind, tostring((kind == 2 or kind == 4) and signed or number)
    elseif kind == 6 or kind == 7 then
        local size = kind == 6 and 4 or 16
        if pos + 1 + size > buf:len() then return nil end
        tree:add(f.kind, buf(pos, 1))
        local range = buf(pos + 1, size)
        tree:add(kind == 6 and f.ipv4 or f.ipv6, range)
        return pos + 1 + size, tostring(kind == 6 and range:ipv4() or range:ipv6())
    elseif kind == 8 or kind == 9 then
        from, after = text_at(buf, pos + 1)
        if not from then return nil end
        tree:add(f.kind, buf(pos, 1))
        field = kind == 8 and f.text or f.binary
        if kind == 8 then
            add_text(tree, field, buf, from, after)
            return after, after > from and buf(from, after - from):string() or ""
        end
        if after > from then tree:add(field, buf(from, after - from)) end
        return after, (after - from) .. " bytes"
    end
    return nil
end

-- Add the pair at pos; return the position behind it, or nil.
local function pair(tree, buf, pos)
    local from, after = text_at(buf, pos)
    if not from then return nil end
    local branch = tree:add(f.pair, buf(pos))
    add_text(branch, f.name, buf, from, after)
    local name = after > from and buf(from, after - from):string() or ""
    local behind, said = value(branch, buf, after)
    if not behind then
        branch:set_text(name .. ": a value that cannot be read")
        return nil
    end
    branch:set_len(behind - pos)
    branch:set_text(name .. "=" .. said)
    return behind, name .. "=" .. said
end

local function pairs_of(tree, buf, pos)
    while pos and pos < buf:len() do
        local behind = pair(tree, buf, pos)
        if not behind then return pos end
        pos = behind
    end
    return pos
end

local function messages(tree, buf, pos)
    while pos < buf:len() do
        local from, after = text_at(buf, pos)
        if not from or after >= buf:len() then return pos end
        local branch = add_text(tree, f.message, buf, from, after)
        branch:add(f.count, buf(after, 1))
        local at = after + 1
        for _ = 1, buf(after, 1):uint() do
            local behind = pair(branch, buf, at)
            if not behind then return at end
            at = behind
        end
        pos = at
    end
    return pos
end

local function actions(tree, buf, pos)
    while pos + 3 < buf:len() do
        local kind, count, scope = buf(pos, 1):uint(), buf(pos + 1, 1):uint(), buf(pos + 2, 1):uint()
        if count ~= (kind == 1 and 3 or 2) or not ACTIONS[kind] or not SCOPES[scope] then return pos end
        local from, after = text_at(buf, pos + 3)
        if not from then return pos end
        local branch = tree:add(f.action, buf(pos, 1))
        branch:add(f.args, buf(pos + 1, 1))
        branch:add(f.scope, buf(pos + 2, 1))
        add_text(branch, f.variable, buf, from, after)
        local name = SCOPES[scope] .. "." .. (after > from and buf(from, after - from):string() or "")
        branch:set_text(ACTIONS[kind] .. " " .. name)
        if kind == 1 then
            local behind, said = value(branch, buf, after)
            if not behind then return after end
            branch:append_text("=" .. said)
            after = behind
        end
        pos = after
    end
    return pos
end

local function payload(tree, buf, pos, type, fin)
    if pos >= buf:len() then return end
    if not fin or type == 0 then
        tree:add(f.fragment, buf(pos))
        return
    end
    local read = type == 3 and messages or type == 103 and actions or pairs_of
    local stop = read(tree, buf, pos)
    if stop < buf:len() then
        tree:add(f.rest, buf(stop)):add_proto_expert_info(wrong, "Bytes that cannot be read")
    end
end

-- One frame, whole.
local function dissect(buf, pinfo, root)
    pinfo.cols.protocol = "SPOP"
    local tree = root:add(spop, buf())
    local length = buf(0, 4):uint()
    tree:add(f.length, buf(0, 4))
    if length < MIN_LENGTH then
        tree:append_text(", a frame of " .. length .. " bytes")
        tree:add_proto_expert_info(wrong, "Fewer than 7 bytes: HAProxy before 3.0-dev6 spins on it")
        pinfo.cols.info:append(" [frame of " .. length .. " bytes]")
        return buf:len()
    end
    local type = buf(4, 1):uint()
    local name = TYPES[type] or ("type " .. type)
    tree:add(f.type, buf(4, 1))
    local flags = tree:add(f.flags, buf(5, 4))
    flags:add(f.fin, buf(5, 4))
    flags:add(f.abort, buf(5, 4))
    local stream_id, at = varint(buf, 9)
    local frame_id, behind = nil, nil
    if stream_id then frame_id, behind = varint(buf, at) end
    if not frame_id then
        tree:add(f.rest, buf(9)):add_proto_expert_info(wrong, "Ids that cannot be read")
        pinfo.cols.info:append(" " .. name)
        return buf:len()
    end
    tree:add(f.stream_id, buf(9, at - 9), stream_id)
    tree:add(f.frame_id, buf(at, behind - at), frame_id)
    local ids = stream_id .. "." .. frame_id
    tree:append_text(", " .. name .. (ids ~= "0.0" and " " .. ids or ""))
    pinfo.cols.info:append(" " .. name .. (ids ~= "0.0" and " " .. ids or ""))
    if not TYPES[type] then tree:add_proto_expert_info(wrong, "A type that does not exist") end
    payload(tree, buf, behind, type, bit.band(buf(8, 1):uint(), 1) == 1)
    return buf:len()
end

-- What no length can be: the rest is shown as it is. It must not be waited for.
local function is_length(buf, pos)
    return buf(pos, 4):uint() <= MAX_LENGTH
end

local function frame_length(buf, _, pos)
    if not is_length(buf, pos) then return buf:len() - pos end
    return LENGTH_BYTES + buf(pos, 4):uint()
end

local function one(buf, pinfo, root)
    if is_length(buf, 0) then return dissect(buf, pinfo, root) end
    pinfo.cols.protocol = "SPOP"
    pinfo.cols.info:append(" [no frame]")
    root:add(spop, buf()):add(f.rest, buf()):add_proto_expert_info(wrong, "No frame")
    return buf:len()
end

function spop.dissector(buf, pinfo, root)
    pinfo.cols.info = ""
    dissect_tcp_pdus(buf, root, LENGTH_BYTES, frame_length, one)
    return buf:len()
end

-- Whether a segment begins with the first frame of a side: on that a conversation is recognised.
local function looks_like(buf, pinfo, root)
    if buf:len() < 11 then return false end
    local length, type = buf(0, 4):uint(), buf(4, 1):uint()
    if length < MIN_LENGTH or length > MAX_LENGTH or not TYPES[type] or type == 0 or buf(5, 3):uint() ~= 0 or buf(8, 1):uint() > 3 then
        return false
    end
    pinfo.conversation = spop
    spop.dissector(buf, pinfo, root)
    return true
end
spop:register_heuristic("tcp", looks_like)

local ports, registered = DissectorTable.get("tcp.port"), 12345
ports:add(registered, spop)
function spop.prefs_changed()
    if registered == spop.prefs.port then return end
    ports:remove(registered, spop)
    registered = spop.prefs.port
    ports:add(registered, spop)
end
