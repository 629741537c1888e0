/// Leaves combining marks out; a decomposing form has to come before it.
struct StripAccents: Normalizer {
    init(_ part: Part) {}

    func normalize(_ text: AlignedText) throws -> AlignedText {
        text.filtered { scalar in
            switch scalar.properties.generalCategory {
            case .nonspacingMark, .spacingMark, .enclosingMark: false
            default: true
            }
        }
    }
}
