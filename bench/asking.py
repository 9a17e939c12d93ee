"""How each vocabulary asks: the items of a conversation, and the fields of a request around them."""

import json
from typing import Any

from bench.story import Agent, Call, Client, Exchange, Session
from bench.wording import call_item, dumps, message_item, reasoning_item, short

REMINDER = "<system-reminder>\nToday is a fine day.\n</system-reminder>"


def asked(client: Client, text: str, first: bool) -> list[str]:
    """The items of a conversation that a prompt makes, with what the client puts beside it."""
    match client.vocabulary:
        case "anthropic":
            blocks = [{"type": "text", "text": REMINDER}] if first else []
            return [dumps({"role": "user", "content": [*blocks, {"type": "text", "text": text}]})]
        case "responses":
            context = "<environment_context>\n  <shell>bash</shell>\n</environment_context>"
            return [_input(said) for said in ([context, text] if first else [text])]
        case "chat":
            return [dumps({"role": "user", "content": said}) for said in (text, *([REMINDER] if first else []))]
        case _:
            blocks = [{"text": "<session_context>\nLinux\n</session_context>"}] if first else []
            return [dumps({"role": "user", "parts": [*blocks, {"text": text}]})]


def _input(text: str, role: str = "user") -> str:
    return dumps({"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]})


def stopped(client: Client, exchange: Exchange) -> list[str]:
    """What a client adds to the conversation when its user stops the model."""
    match client.vocabulary:
        case "anthropic":
            return [dumps({"role": "user", "content": [{"type": "text", "text": "[Request interrupted by user]"}]})]
        case "responses":
            return [_input("<turn_aborted>\nThe user stopped.\n</turn_aborted>")]
        case _:
            return []


def answered(client: Client, exchange: Exchange, key: str) -> list[str]:
    """The answer as the client sends it back."""
    match client.vocabulary:
        case "anthropic":
            thought = {"type": "thinking", "thinking": exchange.thought, "signature": short(key, 40)}
            uses = [{"type": "tool_use", "id": call.call_id, "name": call.name, "input": _value(call)} for call in exchange.calls]
            return [dumps({"role": "assistant", "content": [thought, {"type": "text", "text": exchange.text}, *uses]})]
        case "responses":
            reasoning = {name: value for name, value in reasoning_item(exchange, key).items() if name != "id"}
            return [dumps(item) for item in (reasoning, message_item(exchange, key), *map(call_item, exchange.calls))]
        case "chat":
            message: dict[str, Any] = {"role": "assistant", "content": exchange.text, "reasoning_content": exchange.thought}
            if exchange.calls:
                message["tool_calls"] = [
                    {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                    for call in exchange.calls
                ]
            return [dumps(message)]
        case _:
            parts = [{"functionCall": {"name": call.name, "args": _value(call)}} for call in exchange.calls]
            return [dumps({"role": "model", "parts": [{"text": exchange.text}, *parts]})]


def results(client: Client, calls: list[Call]) -> list[str]:
    """The results of calls as the client sends them."""
    done = [call for call in calls if call.result is not None]
    match client.vocabulary:
        case "anthropic":
            blocks = [_result(call) for call in done]
            return [dumps({"role": "user", "content": blocks})] if blocks else []
        case "responses":
            return [
                dumps(
                    {
                        "type": f"{'custom_tool' if call.free else 'function'}_call_output",
                        "call_id": call.call_id,
                        "output": call.result,
                    }
                )
                for call in done
            ]
        case "chat":
            return [dumps({"role": "tool", "tool_call_id": call.call_id, "content": call.result}) for call in done]
        case _:
            parts = [{"functionResponse": {"name": call.name, "response": {"output": call.result}}} for call in done]
            return [dumps({"role": "user", "parts": parts})] if parts else []


def _result(call: Call) -> dict[str, Any]:
    block = {"tool_use_id": call.call_id, "type": "tool_result", "content": call.result}
    return block | ({"is_error": True} if call.failed else {})


def _value(call: Call) -> Any:
    try:
        return json.loads(call.arguments)
    except ValueError:
        return {}


def frame_of(client: Client, session: Session, model: str, tools: bool, agent: Agent | None) -> tuple[str, str, str]:
    """(list of the conversation, fields before it, fields behind it) of a request body, as texts."""
    match client.vocabulary:
        case "anthropic":
            user = dumps({"device_id": "0" * 64, "account_uuid": "", "session_id": session.sid})
            system: list[dict[str, Any]] = [
                {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329.fake; cch=%CCH%;"}
            ]
            system.append({"type": "text", "text": _system(session, agent), "cache_control": {"type": "ephemeral"}})
            fields = {
                "system": system,
                "tools": declared(client) if tools else [],
                "metadata": {"user_id": user},
                "max_tokens": 32000,
            }
            return "messages", f'"model":"{model}",', "," + dumps(fields | {"stream": True})[1:]
        case "responses":
            more = {"tool_choice": "auto", "store": False, "prompt_cache_key": session.sid}
            if client.socket:
                return "input", f'"type":"response.create","model":"{model}",%PREVIOUS%', "," + dumps(more)[1:]
            head = dumps({"model": model, "instructions": _system(session, agent)})[1:-1]
            return "input", head + ",", "," + dumps({"tools": declared(client)} | more | {"stream": True})[1:]
        case "chat":
            more = {"tools": declared(client), "prompt_cache_key": session.sid, "stream": True}
            return "messages", f'"model":"{model}",', "," + dumps(more)[1:]
        case _:
            more = {"systemInstruction": {"role": "user", "parts": [{"text": _system(session, agent)}]}, "tools": declared(client)}
            return "contents", "", "," + dumps(more | {"generationConfig": {"temperature": 1}})[1:]


def opening(client: Client, session: Session) -> list[str]:
    """The items before the first prompt."""
    if client.vocabulary == "chat":
        return [dumps({"role": "system", "content": session.system})]
    if client.socket:
        return [
            dumps({"type": "additional_tools", "role": "developer", "tools": declared(client)}),
            _input(session.system, "developer"),
        ]
    return []


def _system(session: Session, agent: Agent | None) -> str:
    return f"You are a helper of kind {agent.kind}." if agent else session.system


def declared(client: Client) -> list[dict[str, Any]]:
    """The tools a client offers, in its provider's form."""
    schema = {"type": "object", "properties": {"command": {"type": "string"}}}
    tools = [*client.tools, *(["Task"] if client.name == "claude-code" else [])]
    match client.vocabulary:
        case "anthropic":
            return [{"name": name, "description": f"{name} does it.", "input_schema": schema} for name in tools]
        case "responses":
            return [{"type": "function", "name": name, "description": f"{name} does it.", "parameters": schema} for name in tools]
        case "chat":
            return [
                {"type": "function", "function": {"name": name, "description": "Does it.", "parameters": schema}} for name in tools
            ]
        case _:
            return [
                {
                    "functionDeclarations": [
                        {"name": name, "description": "Does it.", "parametersJsonSchema": schema} for name in tools
                    ]
                }
            ]
