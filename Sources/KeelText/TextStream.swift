/// The text of ids that come one by one.
///
/// Part of a text is settled once no later id can change it: a token may end inside a code point, and a run
/// of byte tokens (`<0x0A>`) is read as a whole. The settled parts and the rest at the end are together what
/// `Tokenizer.decode` makes of all ids.
package struct TextStream {
    private let tokenizer: Tokenizer
    private let skipsSpecial: Bool
    /// What decides how the next token is written: the tokens before the open ones.
    private var context: [Int32] = []
    /// Tokens whose text may still change.
    private var open: [Int32] = []
    /// The bytes that `context` alone is decoded to.
    private var known: [UInt8] = []

    /// Bytes settled so far.
    package private(set) var settledCount = 0
    /// What the open tokens are decoded to as things stand.
    package private(set) var pending: [UInt8] = []

    /// - Parameter skipsSpecial: special tokens have no text.
    package init(_ tokenizer: Tokenizer, skipsSpecial: Bool = true) {
        self.tokenizer = tokenizer
        self.skipsSpecial = skipsSpecial
    }

    /// Takes the next id.
    ///
    /// - Returns: the bytes that are settled with it, after those of the calls before; often none. Always
    ///   whole code points.
    /// - Throws: `KeelError` when a pattern of the decoder gives up.
    package mutating func append(_ id: Int32) throws -> [UInt8] {
        guard let token = tokenizer.token(id), !(skipsSpecial && tokenizer.isSpecial(id)) else {
            return []
        }
        open.append(id)
        let whole = Array(try tokenizer.decode(context + open, skipSpecial: skipsSpecial).utf8)
        let shared = zip(known, whole).prefix { $0 == $1 }.count
        pending = Array(whole[shared...])
        guard !TextStream.isByte(token), !pending.suffix(3).elementsEqual([0xEF, 0xBF, 0xBD])
        else { return [] }
        return try settle()
    }

    /// Ends the text.
    ///
    /// - Returns: what was not settled.
    /// - Throws: `KeelError` when a pattern of the decoder gives up.
    package mutating func finish() throws -> [UInt8] { open.isEmpty ? [] : try settle() }

    private mutating func settle() throws -> [UInt8] {
        let bytes = pending
        context = open
        open = []
        pending = []
        known = Array(try tokenizer.decode(context, skipSpecial: skipsSpecial).utf8)
        settledCount += bytes.count
        return bytes
    }

    /// Whether a token is one of byte fallback, `<0x00>` to `<0xFF>`.
    private static func isByte(_ token: String) -> Bool {
        token.utf8.count == 6 && token.hasPrefix("<0x") && token.hasSuffix(">")
    }
}
