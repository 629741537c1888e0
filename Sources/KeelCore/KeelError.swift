/// How a command ends, as a shell sees it (BSD sysexits where one fits).
package enum ExitCode: Int32, Sendable {
    case ok = 0
    /// The run failed and left no checkpoint to go on from.
    case failed = 1
    case usage = 64
    case badData = 65
    case noInput = 66
    /// A plugin, or its ABI, is not available.
    case unavailable = 69
    case internalBug = 70
    case cannotCreate = 73
    case io = 74
    /// Stopped early with a checkpoint that can be resumed.
    case stopped = 75
    case config = 78
}

/// What a user did, met or asked for that cannot be done: what, where, and a change that works.
///
///     error[config]: objective "dpo" needs reference log-probs, but "reference" is "none"
///       at:  samples/dpo/config.json:14:5, key reference
///       fix: set "reference": "initial" to use the starting weights
package struct KeelError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The part of the product that speaks: config, data, plugin, model, tokenizer, io, ...
    package var area: String
    package var what: String
    package var at: String?
    package var fix: String?
    package var code: ExitCode

    package init(
        _ area: String, _ what: String, at: String? = nil, fix: String? = nil,
        code: ExitCode = .config
    ) {
        self.area = area
        self.what = what
        self.at = at
        self.fix = fix
        self.code = code
    }

    /// The same error with a change that works, unless it names one already.
    package func fixed(by fix: String) -> KeelError {
        var error = self
        error.fix = self.fix ?? fix
        return error
    }

    package var description: String {
        var text = "error[\(area)]: \(what)"
        if let at { text += "\n  at:  \(at)" }
        if let fix { text += "\n  fix: \(fix)" }
        return text
    }

    /// The same for machines (`--error-format json`).
    package var json: JSON {
        var object: JSONObject = ["area": .string(area), "what": .string(what)]
        if let at { object["at"] = .string(at) }
        if let fix { object["fix"] = .string(fix) }
        object["code"] = .int(Int64(code.rawValue))
        return .object(object)
    }
}

/// Several errors found in one look, reported together.
package struct KeelErrors: Error, Sendable, CustomStringConvertible {
    package var errors: [KeelError]

    package init(_ errors: [KeelError]) {
        self.errors = errors
    }

    package var description: String {
        errors.map(\.description).joined(separator: "\n")
    }

    /// Throws when something was found: a single error as itself, several as one `KeelErrors`.
    package func throwIfAny() throws {
        if errors.count == 1, let only = errors.first { throw only }
        if !errors.isEmpty { throw self }
    }
}

/// The known name nearest to a misspelt one, or nil when none is near enough to be meant.
package func nearest(_ name: String, among known: some Sequence<String>) -> String? {
    let wanted = Array(name.lowercased().utf8)
    var best: (name: String, distance: Int)?
    for candidate in known {
        let distance = editDistance(wanted, Array(candidate.lowercased().utf8))
        if best.map({ distance < $0.distance }) ?? true { best = (candidate, distance) }
    }
    guard let best, best.distance <= max(2, wanted.count / 3) else { return nil }
    return best.name
}

/// Levenshtein distance with transposition of neighbours counted as one edit.
private func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    if a.isEmpty || b.isEmpty { return a.count + b.count }
    var before: [Int] = []
    var last = Array(0...b.count)
    for i in 1...a.count {
        var row = [i]
        for j in 1...b.count {
            var cost = min(
                last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1))
            if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] {
                cost = min(cost, before[j - 2] + 1)
            }
            row.append(cost)
        }
        before = last
        last = row
    }
    return last[b.count]
}
