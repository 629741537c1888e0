/// Ends texts by what they say, beside the ids that end them.
package protocol TextEnding: AnyObject {
    /// Looks at one text from its first token on.
    func watch() -> any TextWatch
}

/// A text that grows token by token.
package protocol TextWatch {
    /// Takes the next token.
    ///
    /// - Returns: where the text is to be cut when this token ends it: bytes of it that stay.
    /// - Throws: what makes the text unreadable; the generation ends with it.
    mutating func append(_ id: Int32) throws -> Int?
}
