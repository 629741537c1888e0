import Glibc

/// Text as SVG and HTML may hold it.
enum Markup {
    /// Foreign text as content or as a quoted attribute.
    ///
    /// The five characters of markup become references. Control characters, which XML forbids, and those that
    /// turn the direction of writing around, which hide what a text says, become visible.
    static func escape(_ text: String) -> String {
        var out = ""
        out.reserveCapacity(text.utf8.count)
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            case "'": out += "&#39;"
            case "\t", "\n": out.unicodeScalars.append(scalar)
            case "\u{0}"..."\u{1F}":
                // The picture of the control character.
                out.unicodeScalars.append(Unicode.Scalar(0x2400 + scalar.value) ?? "\u{FFFD}")
            case "\u{7F}": out += "\u{2421}"
            case "\u{80}"..."\u{9F}", "\u{200E}", "\u{200F}", "\u{202A}"..."\u{202E}",
                "\u{2028}", "\u{2029}", "\u{2066}"..."\u{2069}", "\u{FEFF}",
                "\u{FFFE}", "\u{FFFF}":
                out += "\u{27E8}U+\(hex(scalar.value))\u{27E9}"
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }

    private static func hex(_ value: UInt32) -> String {
        let digits = String(value, radix: 16, uppercase: true)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }

    /// A coordinate with at most two decimals: short, and the same on every machine.
    static func place(_ x: Double) -> String {
        precondition(x.isFinite, "a coordinate of \(x)")
        let hundredths = Int((x * 100).rounded())
        let whole = abs(hundredths) / 100
        let rest = abs(hundredths) % 100
        var text = hundredths < 0 ? "-" : ""
        text += String(whole)
        if rest != 0 {
            text += "." + (rest % 10 == 0 ? String(rest / 10) : rest < 10 ? "0\(rest)" : "\(rest)")
        }
        return text
    }

    /// About how wide a text is in a sans-serif font, in pixels.
    static func width(_ text: String, size: Double) -> Double {
        text.unicodeScalars.reduce(0.0) { sum, scalar in
            let share =
                switch scalar {
                case "i", "j", "l", "t", "f", "r", "I", ".", ",", ":", ";", "|", "!", "'", "(", ")",
                    "[", "]", "/", " ", "-":
                    0.34
                case "m", "w", "M", "W", "%", "@": 0.88
                case "A"..."Z", "\u{2212}", "+", "=": 0.68
                case "\u{1100}"..."\u{10FFFF}" where scalar.value > 0x2E7F: 1.0
                default: 0.57
                }
            return sum + share * size
        }
    }
}
