import KeelBridge
import KeelCore
import KeelData
import KeelText

extension DataInspect {
    // MARK: For people

    /// The report: figures, lengths, rows with what is trained of them in colour, or between `[[` and `]]`.
    package func text(hasColor: Bool) -> String {
        var lines = [
            "data      \(path), as \(kind)",
            "template  "
                + (template.map { "\($0.place) (sha256 \($0.hash.prefix(12)))" } ?? "none"),
            "rows      " + counts.map { "\($0.1) \($0.0.replacing("_"))" }.joined(separator: ", "),
            "tokens    \(tokens.trained) of \(tokens.all) are trained (\(percent(tokens.trained, tokens.all)))",
        ]
        if open > 0 {
            lines.append("          \(open) completions do not end in a trained end token")
        }
        lines += notes.map { "note      \($0)" }
        lines += ["", "tokens of a row (prompt and longest completion)"] + histogram
        for (number, one) in shown.enumerated() { lines += [""] + describe(number, one, hasColor) }
        if !dropped.isEmpty { lines += ["", "rows left out"] }
        lines += dropped.map { "  \($0.place): \($0.reason)" }
        return lines.joined(separator: "\n")
    }

    private func percent(_ part: Int, _ all: Int) -> String {
        "\(Parameter.brief(100 * Double(part) / Double(max(1, all)))) %"
    }

    /// Ten bars between the shortest and the longest row.
    var bars: [(from: Int, to: Int, count: Int)] {
        guard let low = lengths.min(), let high = lengths.max() else { return [] }
        let width = max(1, (high - low + 10) / 10)
        return stride(from: low, through: high, by: width).map { start in
            let range = start..<start + width
            return (start, start + width - 1, lengths.count { range.contains($0) })
        }
    }

    private var histogram: [String] {
        let most = bars.map(\.count).max() ?? 1
        return bars.map { bar in
            let stars = String(repeating: "#", count: (40 * bar.count + most - 1) / max(1, most))
            let range = "\(bar.from)-\(bar.to)"
            return "  \(range.padded(11)) \("\(bar.count)".padded(7)) \(stars)"
        }
    }

    private func describe(_ number: Int, _ one: Shown, _ hasColor: Bool) -> [String] {
        var facts = [one.place]
        if let label = one.values.label { facts.append("label \(label)") }
        if let rewards = one.values.rewards {
            facts.append("rewards " + rewards.map(Parameter.brief).joined(separator: ", "))
        }
        if let margin = one.values.margin { facts.append("margin \(Parameter.brief(margin))") }
        if one.isCut { facts.append("cut") }
        var lines = ["row \(number + 1)  " + facts.joined(separator: ", ")]
        let paint = Paint(hasColor: hasColor, tokenizer: tokenizer)
        lines.append("  prompt (\(one.row.prompt.count) tokens)")
        lines.append(paint.text(one.row.prompt, one.row.prompt.map { _ in false }))
        for (side, name) in sides(one.row).enumerated() {
            let mask = one.row.mask(side)
            lines.append("  \(name) (\(mask.count) tokens, \(mask.count { $0 }) trained)")
            lines.append(paint.text(one.row.completions[side], mask))
        }
        return lines
    }

    // MARK: For machines

    /// Figures, lengths and rows with ids, texts and marks of every token.
    package var json: JSON {
        var object: JSONObject = ["data": .string(path), "kind": .string(kind)]
        object["template"] = .null
        if let template {
            object["template"] = [
                "path": .string(template.place), "sha256": .string(template.hash),
            ]
        }
        for (name, count) in counts { object[name] = JSON(count) }
        object["tokens"] = JSON(tokens.all)
        object["trained_tokens"] = JSON(tokens.trained)
        object["completions_without_end"] = JSON(open)
        object["notes"] = .array(notes.map { .string($0) })
        object["lengths"] = .array(
            bars.map { ["from": JSON($0.from), "to": JSON($0.to), "rows": JSON($0.count)] })
        object["samples"] = .array(shown.map(json))
        object["left_out"] = .array(
            dropped.map { ["at": .string($0.place), "reason": .string($0.reason)] })
        return .object(object)
    }

    private func json(_ one: Shown) -> JSON {
        func tokens(_ ids: [Int32], _ mask: [Bool]?) -> JSON {
            var object: JSONObject = [
                "ids": .array(ids.map { .int(Int64($0)) }),
                "tokens": .array(ids.map { .string(tokenizer.token($0) ?? "") }),
                "text": .string((try? tokenizer.decode(ids, skipSpecial: false)) ?? ""),
            ]
            if let mask { object["trained"] = .array(mask.map { .int($0 ? 1 : 0) }) }
            return .object(object)
        }
        var object: JSONObject = [
            "row": JSON(one.row.index), "at": .string(one.place), "cut": .bool(one.isCut),
            "prompt": tokens(one.row.prompt, nil),
            "completions": .array(
                one.row.completions.indices.map {
                    tokens(one.row.completions[$0], one.row.mask($0))
                }),
        ]
        if let label = one.values.label { object["label"] = .bool(label) }
        if let rewards = one.values.rewards { object["rewards"] = .array(rewards.map(JSON.double)) }
        if let margin = one.values.margin { object["margin"] = .double(margin) }
        return .object(object)
    }
}

/// Token texts one after the other: trained ones green or between `[[` and `]]`, special ones reversed.
private struct Paint {
    let hasColor: Bool
    let tokenizer: Tokenizer

    /// Runs of tokens that look alike are decoded together: a letter may be made of several tokens.
    func text(_ ids: [Int32], _ mask: [Bool]) -> String {
        var out = "    "
        var at = 0
        while at < ids.count {
            let (isTrained, isSpecial) = (mask[at], tokenizer.isSpecial(ids[at]))
            var end = at + 1
            while end < ids.count, mask[end] == isTrained, !isSpecial,
                !tokenizer.isSpecial(ids[end])
            {
                end += 1
            }
            let words = (try? tokenizer.decode(Array(ids[at..<end]), skipSpecial: false)) ?? ""
            let shown = words.visible
            if hasColor {
                let codes = (isTrained ? ["32"] : ["2"]) + (isSpecial ? ["7"] : [])
                out += "\u{1B}[\(codes.joined(separator: ";"))m\(shown)\u{1B}[0m"
            } else {
                let opens = isTrained && (at == 0 || !mask[at - 1])
                let closes = isTrained && (end == ids.count || !mask[end])
                out += (opens ? "[[" : "") + shown + (closes ? "]]" : "")
            }
            at = end
        }
        return out
    }
}

extension String {
    /// Line ends can be seen and other control characters do nothing to a terminal.
    fileprivate var visible: String {
        var out = ""
        for scalar in unicodeScalars {
            switch scalar {
            case "\n": out += "\\n\n    "
            case "\t": out += "\\t"
            case "\u{0}"..."\u{1F}", "\u{7F}"..."\u{9F}":
                out += "\\x" + String(scalar.value, radix: 16)
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }

    fileprivate func padded(_ width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }

    fileprivate func replacing(_ character: Character) -> String {
        String(map { $0 == character ? " " : $0 })
    }
}
