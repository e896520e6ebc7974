package spop

import "bytes"

const pipelining = "pipelining"

func pair(out []byte, name, value string) []byte {
	return AppendString(append(AppendString(out, name), String), value)
}

func number(out []byte, name string, value uint64) []byte {
	return AppendVarint(append(AppendString(out, name), Uint32), value)
}

func control(kind byte, payload []byte) []byte {
	return End(append(append(BeginWhole(nil, kind), 0, 0), payload...), 0)
}

// HaproxyHelloFrame is what HAProxy opens a connection with.
func HaproxyHelloFrame() []byte {
	payload := pair(nil, "supported-versions", "2.0")
	payload = number(payload, "max-frame-size", Size)
	payload = pair(payload, "capabilities", pipelining)
	return control(HaproxyHello, pair(payload, "engine-id", "00000000-0000-4000-8000-000000000001"))
}

// AgentHelloFrame answers that HAPROXY-HELLO: no capability is announced that was not offered.
func AgentHelloFrame(hello []byte) []byte {
	payload := pair(nil, "version", "2.0")
	payload = number(payload, "max-frame-size", Size)
	announced := ""
	if bytes.Contains(hello, []byte(pipelining)) {
		announced = pipelining
	}
	return control(AgentHello, pair(payload, "capabilities", announced))
}

// Disconnect is the last frame of either side, which kind says.
func Disconnect(kind byte) []byte {
	return control(kind, pair(number(nil, "status-code", 0), "message", "bye"))
}
