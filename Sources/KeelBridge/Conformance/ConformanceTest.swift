import KeelCore

/// One test of `keel plugin check`: what it claims, what it is for, and how it is run.
package struct ConformanceTest: Sendable {
    /// The chapters of the suite, in the order in which they are reported.
    package enum Group: String, CaseIterable, Sendable {
        case file, descriptor, parameters, reward, independence, objective, sampler, state, errors,
            resources, fuzz
    }

    package let group: Group
    package let name: String
    /// One sentence for `keel plugin check --list`.
    package let help: String
    /// The kinds of component it is run on; empty: once for the file.
    package let kinds: Set<ComponentKind>
    /// Tests by name, or `runs` for the component's own: when one of them fails, this one is skipped.
    let after: [String]
    /// True when the end of the process is for another test to report.
    let leavesCrashes: Bool
    /// Seconds after which a second process must come to the same result; nil = no second process.
    let replay: Double?
    /// Why it does not apply to a component; nil when it does.
    let skip: @Sendable (Component) -> String?
    let run: @Sendable (Trial) throws -> Void

    init(
        _ group: Group, _ name: String, _ help: String, kinds: Set<ComponentKind> = [],
        after: [String] = [], leavesCrashes: Bool = false, replay: Double? = nil,
        skip: @escaping @Sendable (Component) -> String? = { _ in nil },
        run: @escaping @Sendable (Trial) throws -> Void
    ) {
        self.group = group
        self.name = name
        self.help = help
        self.kinds = kinds
        self.after = after
        self.leavesCrashes = leavesCrashes
        self.replay = replay
        self.skip = skip
        self.run = run
    }

    /// `reward.empty_text`.
    package var id: String { "\(group.rawValue).\(name)" }

    /// Every test, in the order of the report.
    package static let all: [ConformanceTest] =
        fileTests + descriptorTests + parameterTests + rewardTests + independenceTests
        + objectiveTests + gradientTests + samplerTests + stateTests + errorTests + resourceTests
        + fuzzTests

    static let everyKind = Set(ComponentKind.allCases)

    /// Whether a pattern means the test: a group, a full name, or either with `*`.
    package func matches(_ pattern: String) -> Bool {
        if pattern == group.rawValue || pattern == name { return true }
        return ConformanceTest.glob(Array(pattern.utf8)[...], Array(id.utf8)[...])
    }

    private static func glob(_ pattern: ArraySlice<UInt8>, _ text: ArraySlice<UInt8>) -> Bool {
        guard let first = pattern.first else { return text.isEmpty }
        if first == UInt8(ascii: "*") {
            return (text.startIndex...text.endIndex).contains {
                glob(pattern.dropFirst(), text[$0...])
            }
        }
        return text.first == first && glob(pattern.dropFirst(), text.dropFirst())
    }
}

/// How a test ended.
package enum ConformanceLevel: String, Sendable {
    case pass, warn, fail, skip
}

/// What one test found out about one component or file.
package struct ConformanceResult: Sendable {
    package var test: ConformanceTest
    /// The component's name; nil for the file.
    package var component: String?
    package var level: ConformanceLevel
    /// One sentence; empty for a pass without remarks.
    package var what: String
    package var fix: String?
    package var seconds: Double
    /// True when it was not run because another test failed.
    package var isConsequence = false

    /// The result for machines.
    package var json: JSON {
        var object: JSONObject = [
            "group": .string(test.group.rawValue), "test": .string(test.name),
            "component": component.map(JSON.string) ?? .null, "level": .string(level.rawValue),
            "what": .string(what),
        ]
        if let fix { object["fix"] = .string(fix) }
        object["seconds"] = .double((seconds * 1e4).rounded() / 1e4)
        return .object(object)
    }
}

/// What a test says when it does not pass.
struct Finding: Error {
    var level: ConformanceLevel
    var what: String
    var fix: String?

    static func fail(_ what: String, fix: String? = nil) -> Finding {
        Finding(level: .fail, what: what, fix: fix)
    }

    static func warn(_ what: String, fix: String? = nil) -> Finding {
        Finding(level: .warn, what: what, fix: fix)
    }

    static func skip(_ what: String) -> Finding { Finding(level: .skip, what: what, fix: nil) }
}
