/// What BERT does to text: clean it, put spaces around CJK characters, strip accents, lower the case.
struct BertNormalizer: Normalizer {
    private let cleans: Bool
    private let spacesChinese: Bool
    private let stripsAccents: Bool
    private let lowers: Bool

    init(_ part: Part) throws {
        cleans = try part["clean_text"].flag(true)
        spacesChinese = try part["handle_chinese_chars"].flag(true)
        lowers = try part["lowercase"].flag(true)
        // Not set: accents go where the case goes.
        stripsAccents = try part["strip_accents"].flag(lowers)
    }

    func normalize(_ text: AlignedText) throws -> AlignedText {
        var text = text
        if cleans { text = BertNormalizer.clean(text) }
        if spacesChinese { text = BertNormalizer.spaceChinese(text) }
        if stripsAccents {
            text = try UnicodeForm(.nfd).normalize(text).filtered {
                $0.properties.generalCategory != .nonspacingMark
            }
        }
        return lowers ? try Lowercase().normalize(text) : text
    }

    /// Without control characters; every white space is a space.
    private static func clean(_ text: AlignedText) -> AlignedText {
        text.mapped { scalar, append in
            if scalar == "\t" || scalar == "\n" || scalar == "\r" {
                append(" ")
            } else if scalar.value != 0, scalar.value != 0xFFFD, !isControl(scalar) {
                append(scalar.properties.isWhitespace ? " " : scalar)
            }
        }
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .privateUse, .surrogate: true
        default: false
        }
    }

    private static func spaceChinese(_ text: AlignedText) -> AlignedText {
        text.mapped { scalar, append in
            guard isChinese(scalar.value) else { return append(scalar) }
            append(" ")
            append(scalar)
            append(" ")
        }
    }

    /// The blocks that BERT calls Chinese; 0x2B920 is as the library has it.
    private static func isChinese(_ value: UInt32) -> Bool {
        switch value {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0xF900...0xFAFF, 0x20000...0x2A6DF,
            0x2A700...0x2B73F, 0x2B740...0x2B81F, 0x2B920...0x2CEAF, 0x2F800...0x2FA1F:
            true
        default: false
        }
    }
}
