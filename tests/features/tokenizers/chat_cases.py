"""Chat templates in the manner of several models, and chats for them."""

from typing import Any

import tokenizers
from tokenizers import models

TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": None, "pad_token": "<pad>"}

CHATML = """\
{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}{% endif %}
{% for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{% endif %}"""

STRICT = """\
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rest = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in rest %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' + ('<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' if loop.first and system is defined else '') }}
        {{- message['content'] + ' [/INST]' }}
    {%- else %}
        {{- ' ' + message['content'] + eos_token }}
    {%- endif %}
{%- endfor %}"""

TOOLS = """\
{% if tools %}
<tools>
{% for tool in tools %}
{{ tool | tojson }}
{% endfor %}
{{ tools | tojson(indent=2) }}
</tools>
{% endif %}
{% for document in documents or [] %}
[{{ loop.index }}] {{ document.title }}: {{ document['text'] }}
{% endfor %}
{% set ns = namespace(last=0) %}
{% for message in messages %}
{% if message.role == 'skip' %}{% continue %}{% endif %}
{% set ns.last = loop.index %}
{{ message.role }}|{{ message.content if message.content is defined else 'nothing' }}
{% if message.tool_calls %}
{% for call in message.tool_calls %}
{{ call.function.name }}({{ call.function.arguments | tojson }})
{% endfor %}
{% endif %}
{% if message.reasoning_content %}
<think>{{ message.reasoning_content }}</think>
{% endif %}
{% endfor %}
{{ ns.last }}{{ pad_token }}{{ unk_token }}
{% if enable_thinking is defined and enable_thinking is false %}
quick
{% endif %}
{% generation %}
made
{% endgeneration %}"""

_USER = {"role": "user", "content": 'Hi there! <b>& "é 狐"</b>'}
_ASSISTANT = {"role": "assistant", "content": "  Hello.\n"}
_SYSTEM = {"role": "system", "content": " You know all. "}
_TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
_CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich", "n": 1.5}}}],
}
_THOUGHT = {"role": "assistant", "content": "42", "thinking": "six times seven"}
_DOCUMENTS = [{"title": "One", "text": "first"}, {"title": "Two", "text": "second"}]

CHATS: dict[str, tuple[str, dict[str, Any]]] = {
    "chatml": (CHATML, {"messages": [_USER, _ASSISTANT, _USER]}),
    "chatml prompt": (CHATML, {"messages": [_SYSTEM, _USER], "add_generation_prompt": True}),
    "strict": (STRICT, {"messages": [_SYSTEM, _USER, _ASSISTANT, _USER]}),
    "strict plain": (STRICT, {"messages": [_USER, _ASSISTANT]}),
    "tools": (TOOLS, {"messages": [_USER, _CALL, {"role": "skip", "content": "x"}, _THOUGHT], "tools": [_TOOL]}),
    "documents": (TOOLS, {"messages": [_USER], "documents": _DOCUMENTS, "variables": {"enable_thinking": False}}),
}


def letters() -> tokenizers.Tokenizer:
    """A tokenizer for those who must have one."""
    return tokenizers.Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<pad>": 2}, unk_token="<pad>"))
