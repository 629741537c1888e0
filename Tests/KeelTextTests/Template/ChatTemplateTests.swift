import KeelCore
import Testing

@testable import KeelText

struct ChatTemplateTests {
    private func render(
        _ source: String, _ messages: JSON = [["role": "user", "content": "Hi"]],
        prompt: Bool = false, variables: JSONObject = [:]
    ) throws -> String {
        let template = try ChatTemplate(source, name: "t.jinja", specials: ["bos_token": "<s>"])
        return try template.render(messages, addGenerationPrompt: prompt, variables: variables).text
    }

    /// What Jinja 3.1 with transformers' settings prints.
    static let expressions: [(String, String)] = [
        ("{{ 1 + 2 * 3 }}", "7"), ("{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }}", "-4 2 3.5"),
        ("{{ 2 ~ 3 }}", "23"), ("{{ 'a' + m | default('b') | upper + 'c' }}", "aBc"),
        ("{{ 'x' if false else 'no' }}|{{ 'x' if false }}|", "no||"),
        ("{{ [1, 2, 3][-1] }}{{ 'abcdef'[1:4] }}{{ 'abc'[::-1] }}{{ [1, 2][5:] }}", "3bcdcba[]"),
        (
            "{{ not 1 == 2 }} {{ 1 < 2 < 3 }} {{ 'a' in 'cat' }} {{ 'k' not in {'b': 1} }}",
            "True True True True"
        ),
        (
            "{{ 3 is odd }}{{ 4 is divisibleby 2 }}{{ x is defined }}{{ none is none }}",
            "TrueTrueFalseTrue"
        ),
        (
            "{{ undefinedthing }}|{{ undefinedthing | default('d') }}|{{ '' | default('e', true) }}",
            "|d|e"
        ),
        ("{{ 'a,b,,c'.split(',') }}{{ ' x  y '.split() }}", "['a', 'b', '', 'c']['x', 'y']"),
        ("{{ 'aXbX'.replace('X', '-') }}{{ '  a '.strip() }}{{ 'xxa'.lstrip('x') }}", "a-b-aa"),
        ("{{ 'hello world' | title }} {{ 'HELLO' | capitalize }}", "Hello World Hello"),
        ("{{ [1, 2.5, none, true, 'q'] }}", "[1, 2.5, None, True, 'q']"),
        ("{{ {'a': [1, 'é']} | tojson }}", "{\"a\": [1, \"é\"]}"),
        ("{{ messages | map(attribute='role') | join(',') }}", "user"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{{ 'a\\n\\'\\\\' }}", "a\n'\\"), ("{{ range(1, 7, 2) | join }}", "135"),
        ("{{ bos_token }}{{ 1.0 }} {{ 0.1 + 0.2 }}", "<s>1.0 0.30000000000000004"),
        ("{{ (messages[0]).content | length }}", "2"), ("{{ 'a' 'b' }}", "ab"),
    ]

    @Test(arguments: expressions)
    func expressionsPrintWhatJinjaPrints(source: String, want: String) throws {
        #expect(try render(source) == want)
    }

    static let statements: [(String, String)] = [
        ("a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc"),
        ("a \n {%- if true -%} \n b \n{%- endif %} c", "ab c"), ("a\n  {{ 'x' }}  \n", "a\n  x  "),
        ("  {# note #}\nx", "x"), ("   {%+ if true %}x{% endif %}", "   x"),
        ("{% if true +%}\nx{% endif %}", "\nx"),
        ("{% for a, b in {'k': 1, 'z': 2}.items() %}{{ a }}{{ b }};{% endfor %}", "k1;z2;"),
        (
            "{% for i in [1, 2, 3] if i != 2 %}{{ loop.index }}/{{ loop.length }}:{{ i }} {% endfor %}",
            "1/2:1 2/2:3 "
        ),
        ("{% for i in [] %}x{% else %}none{% endfor %}", "none"),
        (
            "{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
            "13"
        ),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
        (
            "{% set n = namespace(x=0) %}{% for i in [1, 2] %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}",
            "3"
        ),
        ("{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}", "1"),
        ("{% set x %} in {{ 1 }} {% endset %}[{{ x }}]", "[ in 1 ]"),
        ("{% macro f(x, y='d') %}{{ x }}{{ y }}{% endmacro %}{{ f('a') }}{{ f(1, y=2) }}", "ad12"),
        (
            "{% for x in 'ab' %}{{ loop.previtem }}{{ x }}{{ loop.last }}{% endfor %}",
            "aFalseabTrue"
        ),
    ]

    @Test(arguments: statements)
    func statementsPrintWhatJinjaPrints(source: String, want: String) throws {
        #expect(try render(source) == want)
    }

    /// `n.x` as many times twice itself.
    private static func doubled(_ start: String, _ symbol: String, rounds: Int = 60) -> String {
        "{% set n = namespace(x=\(start)) %}{% for i in range(\(rounds)) %}"
            + "{% set n.x = n.x \(symbol) n.x %}{% endfor %}"
    }

    /// What is deep, long or at the end of the integers, and harmless.
    @Test(
        arguments: [
            (
                "{% set h = namespace(t=namespace()) %}{% for i in range(20000) %}{% set c = h.t %}"
                    + "{% set c.x = namespace() %}{% set h.t = c.x %}{% endfor %}ok", "ok"
            ),
            ("{% set n = namespace() %}{% set n.x = n %}{{ n.x.x }}", "<Namespace>"),
            ("{{ 'a b c'.split(' ', -9223372036854775807 - 1) }}", "['a', 'b', 'c']"),
            ("{{ ' a b'.split(none, -9223372036854775807 - 1) }}", "['a', 'b']"),
            ("{{ 'a b c'.replace(' ', 'x', -9223372036854775807 - 1) }}", "axbxc"),
            ("{{ 'a b c'.replace(' ', 'x', 1) }}", "axb c"),
        ])
    func extremes(source: String, want: String) throws {
        #expect(try render(source) == want)
    }

    static let broken: [(String, String, String)] = [
        ("a\n{% if x %}", "{% endif %} is missing", "t.jinja:2"),
        ("{{ 1", "a tag has no end", "t.jinja:1"),
        ("{{ 'abc }}", "a string has no end", "t.jinja:1"),
        ("\n\n{% include 'x' %}", "{% include %} is not supported", "t.jinja:3"),
        ("{{ x | wordwrap }}", "the filter \"wordwrap\" is not supported", "t.jinja:1"),
        ("{{ 1 is prime }}", "the test \"is prime\" is not supported", "t.jinja:1"),
        ("{{ 'a'.zfill(3) }}", "no method .zfill()", "t.jinja:1"),
        ("{{ 1 + 'a' }}", "a number + a string is not possible", "t.jinja:1"),
        ("{{ x.y }}", "\"y\" of something undefined", "t.jinja:1"),
        ("{{ x() }}", "\"x\" is undefined, which cannot be called", "t.jinja:1"),
        ("{{ 1 // 0 }}", "division by zero", "t.jinja:1"),
        ("{{ raise_exception('roles!') }}", "refuses these messages: roles!", "t.jinja:1"),
        ("{% set x.y = 1 %}", "is no namespace", "t.jinja:1"),
        (
            "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
            "takes more than", "t.jinja:1"
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "deep", "t.jinja:1"),
        ("{{ range(9999999999) }}", "more than 100000", "t.jinja:1"),
        ("{{ range(0, -9223372036854775807 - 1, -1) }}", "more than 100000", "t.jinja:1"),
        (
            "{% set n = namespace(x=[]) %}{% for i in range(9000) %}{% set n.x = [n.x] %}{% endfor %}",
            "stand in each other more than 640 deep", "t.jinja:1"
        ),
        (doubled("'x'", "~"), "a value grows beyond", "t.jinja:1"),
        (doubled("[1]", "+"), "a value grows beyond", "t.jinja:1"),
        (
            doubled("'x'", "~", rounds: 24) + "{{ range(50) | join(n.x) }}", "grows beyond",
            "t.jinja:1"
        ),
        (
            doubled("'x'", "~", rounds: 9) + "{{ n.x.replace('x', n.x).replace('x', n.x) }}",
            "grows beyond", "t.jinja:1"
        ),
        (
            "{% set n = namespace(x=[]) %}{% for i in range(600) %}{% set n.x = [n.x, 1, 2, 3] %}{% endfor %}"
                + "{{ [n.x, n.x, n.x, n.x, n.x, n.x] | tojson(16) }}", "with an indent", "t.jinja:1"
        ),
        (
            "{{ \(String(repeating: "(", count: 500))1\(String(repeating: ")", count: 500)) }}",
            "nested more than", "t.jinja:1"
        ),
        ("{{ 9223372036854775807 + 1 }}", "too large", "t.jinja:1"),
        ("{% %}", "name of a tag", "t.jinja:1"),
        ("{{ 1 2 }}", "goes on where it should end", "t.jinja:1"),
        ("{# x", "a comment has no end", "t.jinja:1"),
    ]

    @Test(arguments: broken)
    func whatCannotBeDoneIsNamedWithItsLine(source: String, words: String, place: String) throws {
        let error = try #require(throws: KeelError.self) { _ = try render(source) }
        #expect(error.what.contains(words), "\(error)")
        #expect(error.at == place)
        #expect(error.code == .badData)
    }

    @Test(arguments: [[], "x", [["content": "a"]], [3]] as [JSON])
    func messagesHaveRoles(messages: JSON) {
        #expect(throws: KeelError.self) { _ = try render("x", messages) }
    }

    /// Cut anywhere, a template ends in a text or an error.
    @Test func truncatedTemplates() {
        let source =
            "{%- for m in messages if m.role != 'x' -%}{{ m['content'][1:-1] | trim }}{# c #}{% set a = {'k': (1, [2])} %}{% endfor %}"
        for count in 0...source.utf8.count {
            let part = String(decoding: Array(source.utf8)[..<count], as: UTF8.self)
            do { _ = try render(part) } catch { #expect(error is KeelError) }
        }
    }

    // MARK: - The assistant's turns

    static let conversation: JSON = [
        ["role": "system", "content": "Be kind."], ["role": "user", "content": "Hi"],
        ["role": "assistant", "content": " Hello \n"], ["role": "user", "content": "Hello"],
        ["role": "assistant", "content": "Hello"],
    ]

    static let turns: [(String, [String])] = [
        (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
            [" Hello \n<|im_end|>", "Hello<|im_end|>"]
        ),
        (
            "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}\n\n{% endfor %}",
            ["Hello", "Hello"]
        ),
        (
            "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content.strip() }} </s>{% else %}<s>[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}",
            ["Hello </s>", "Hello </s>"]
        ),
        (
            "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content | trim }}!{% endgeneration %}{% else %}{{ m.content }}{% endif %}\n{% endfor %}",
            ["Hello!", "Hello!"]
        ),
    ]

    @Test(arguments: turns)
    func turnsAreFoundWithAndWithoutMarks(source: String, want: [String]) throws {
        let template = try ChatTemplate(source, name: "t.jinja")
        let (text, places) = try template.renderTurns(
            ChatTemplateTests.conversation, closing: ["<|im_end|>", "</s>"])
        #expect(places.map { String(decoding: Array(text.utf8)[$0], as: UTF8.self) } == want)
        #expect(text == (try template.render(ChatTemplateTests.conversation).text))
    }

    @Test func turnsThatCannotBeFoundAreAnError() throws {
        let source =
            "{% for m in messages %}{{ m.content | length }}{{ m.content }}{% endfor %}"
        let template = try ChatTemplate(source, name: "t.jinja")
        let error = try #require(throws: KeelError.self) {
            _ = try template.renderTurns(ChatTemplateTests.conversation, closing: [])
        }
        #expect(error.fix?.contains("{% generation %}") == true)
    }
}
