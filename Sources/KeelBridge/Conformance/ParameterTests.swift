import KeelCore

/// Parameters: the declared ones only, anywhere in their ranges.
extension ConformanceTest {
    static let parameterTests: [ConformanceTest] = [
        ConformanceTest(
            .parameters, "declared", "It asks only for parameters that it declares.",
            kinds: everyKind, leavesCrashes: true, run: testDeclared),
        ConformanceTest(
            .parameters, "refused",
            "Unknown names, wrong types and values out of range never reach the plugin.",
            kinds: everyKind, run: testRefused),
        ConformanceTest(
            .parameters, "limits",
            "It works, or refuses with a text, at both ends of every range and with every choice.",
            kinds: everyKind, after: ["runs"], skip: withoutParameters, run: testLimits),
        ConformanceTest(
            .parameters, "random", "It works, or refuses with a text, at random allowed values.",
            kinds: everyKind, after: ["limits"], skip: withoutParameters, run: testRandom),
    ]

    private static func withoutParameters(_ component: Component) -> String? {
        component.parameters.isEmpty ? "it has no parameters" : nil
    }

    private static func testDeclared(_ trial: Trial) throws {
        let names = Set(trial.subject.parameters.map(\.name))
        var seen: [String] = []
        let create = HostProbe.tracing {
            guard let rig = try? trial.rig() else { return }
            seen = asked(HostProbe.state.withLock { $0 })
            let work = HostProbe.tracing { _ = try? rig.work(0) }
            seen += asked(work)
        }
        seen += asked(create)
        for name in seen where !names.contains(name) {
            let near = nearest(name, among: names.sorted()).map { "; did you mean \"\($0)\"?" }
            throw Finding.fail(
                "it asks for the parameter \"\(name)\", which it does not declare\(near ?? "")",
                fix: "declare it: KEEL_PARAMS in C, @Param in Swift")
        }
    }

    private static func asked(_ state: HostProbe.State) -> [String] {
        [HostProbe.Service.num, .str, .json, .list].flatMap { state.names[$0] ?? [] }
    }

    private static func testRefused(_ trial: Trial) throws {
        func expectRefusal(_ params: JSONObject, _ what: String) throws {
            guard (try? trial.subject.validate(params: params)) != nil else { return }
            throw Finding.fail("the host accepts \(what)")
        }
        try expectRefusal(["no_such_parameter_": 1], "an unknown parameter")
        for parameter in trial.subject.parameters {
            let name = "parameter \"\(parameter.name)\""
            for value in wrongTypes(parameter) {
                try expectRefusal([parameter.name: value], "\(value.text()) for \(name)")
            }
            guard let range = parameter.range else { continue }
            for number in [range.lowerBound - 1, range.upperBound + 1]
            where number.isFinite && !range.contains(number) {
                let value =
                    parameter.kind == .integer
                    ? Int64(exactly: number).map(JSON.int) ?? .double(number) : .double(number)
                try expectRefusal(
                    [parameter.name: parameter.kind == .numbers ? [value] : value],
                    "\(value.text()) for \(name)")
            }
        }
    }

    private static func wrongTypes(_ parameter: Parameter) -> [JSON] {
        switch parameter.kind {
        case .number: ["text", true, []]
        case .integer: ["text", 1.5, true]
        case .bool: [1, "true"]
        case .string: [1, true, "a\u{0}b"]
        case .choice: ["no such choice", 1]
        case .numbers: [1, ["text"], [true]]
        case .json: []
        }
    }

    /// Works with the parameters; refusing them with a text is as good.
    static func survives(_ trial: Trial, _ params: JSONObject) throws {
        let shown = JSON.object(params).text()
        trial.circumstances = "with params \(shown.prefix(200))"
        do {
            _ = try trial.rig(params).work(0)
        } catch let error as KeelError {
            try expectText(error, "with the parameters \(shown.prefix(200))")
        }
    }

    /// A refusal has to say why.
    static func expectText(_ error: KeelError, _ place: String) throws {
        for silent in ["failed without a text", "without a text"]
        where error.what.hasSuffix(silent) {
            throw Finding.fail(
                "it refuses \(place) and does not say why",
                fix: "call keel_fail(c, KEEL_E_INVALID, \"what is wrong\"), or throw PluginError")
        }
    }

    private static func testLimits(_ trial: Trial) throws {
        for parameter in trial.subject.parameters {
            for value in limits(of: parameter) {
                try survives(trial, [parameter.name: value])
            }
        }
    }

    private static func limits(of parameter: Parameter) -> [JSON] {
        let range = parameter.range ?? -1e9...1e9
        let ends = [range.lowerBound, range.upperBound].map {
            $0.isFinite ? $0 : $0.sign == .minus ? -1e9 : 1e9
        }
        switch parameter.kind {
        case .number: return ends.map(JSON.double)
        case .integer: return ends.compactMap { Int64(exactly: $0).map(JSON.int) }
        case .bool: return [true, false]
        case .string: return ["", "x", .string(String(repeating: "long ", count: 1000))]
        case .choice: return parameter.choices.map(JSON.string)
        case .numbers: return [[], .array(ends.map(JSON.double))]
        case .json: return [.null, [], .object(JSONObject()), "text", 1, true]
        }
    }

    private static func testRandom(_ trial: Trial) throws {
        for _ in 0..<20 { try survives(trial, randomParameters(trial.subject, &trial.dice)) }
    }

    /// Allowed values for some of the parameters.
    static func randomParameters(_ component: Component, _ dice: inout Dice) -> JSONObject {
        var params = JSONObject()
        for parameter in component.parameters where dice.below(3) > 0 {
            let range = parameter.range ?? -100...100
            let low = max(range.lowerBound, -1e6)
            let high = min(range.upperBound, max(low + 1, 1e6))
            switch parameter.kind {
            case .number: params[parameter.name] = .double(dice.uniform(low...high))
            case .integer:
                let value = (low + dice.uniform() * (min(high, low + 1000) - low)).rounded()
                params[parameter.name] = JSON(Int(value))
            case .bool: params[parameter.name] = .bool(dice.below(2) == 0)
            case .string:
                params[parameter.name] =
                    dice.below(2) == 0
                    ? parameter.fallback : .string(dice.pick(["a", "the", "", "[a-z]+", "é"]))
            case .choice: params[parameter.name] = .string(dice.pick(parameter.choices))
            case .numbers:
                params[parameter.name] = .array(
                    dice.doubles(dice.below(4), low...high).map(JSON.double))
            case .json:
                if dice.below(2) == 0 { params[parameter.name] = dice.pick([.null, [], ["a"], 1]) }
            }
        }
        return params
    }
}
