/// A statement of a template, with the line it stands on.
struct TemplateStatement: Sendable {
    indirect enum Kind: Sendable {
        case text(String)
        case print(TemplateExpression)
        case branch([(condition: TemplateExpression?, body: [TemplateStatement])])
        case loop(Loop)
        case set(Target, TemplateExpression)
        case capture(String, [TemplateStatement])
        case macro(name: String, parameters: [Parameter], body: [TemplateStatement])
        /// What the assistant says: its place in the output is remembered.
        case generation([TemplateStatement])
        case leave
        case next
    }

    /// `{% for %}`.
    struct Loop: Sendable {
        var names: [String]
        var list: TemplateExpression
        var filter: TemplateExpression?
        var body: [TemplateStatement]
        var otherwise: [TemplateStatement]
    }

    /// What `{% set %}` gives a value to.
    enum Target: Sendable {
        case names([String])
        case attribute(of: String, String)
    }

    struct Parameter: Sendable {
        var name: String
        var fallback: TemplateExpression?
    }

    var kind: Kind
    var line: Int
}

/// An expression of a template, with the line it stands on.
struct TemplateExpression: Sendable {
    indirect enum Kind: Sendable {
        case constant(TemplateValue)
        case name(String)
        case list([TemplateExpression])
        case dictionary([(key: TemplateExpression, value: TemplateExpression)])
        case attribute(TemplateExpression, String)
        case item(TemplateExpression, TemplateExpression)
        case slice(
            TemplateExpression, TemplateExpression?, TemplateExpression?, TemplateExpression?)
        case call(TemplateExpression, Arguments)
        case filter(TemplateExpression, String, Arguments)
        case test(TemplateExpression, String, Arguments, isNegated: Bool)
        case unary(String, TemplateExpression)
        case binary(String, TemplateExpression, TemplateExpression)
        case compare(TemplateExpression, [(symbol: String, value: TemplateExpression)])
        case choose(TemplateExpression, TemplateExpression, TemplateExpression?)
    }

    struct Arguments: Sendable {
        var values: [TemplateExpression] = []
        var named: [(name: String, value: TemplateExpression)] = []
    }

    var kind: Kind
    var line: Int
}
