"""The live page and ``/api/status``: the state of each route, the last minutes, and the incidents with their frames."""
