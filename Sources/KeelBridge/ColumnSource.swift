import KeelCore

/// Columns that cost a pass of a model and are made when a callback asks for one.
package struct ColumnSource {
    /// The names that can be had.
    package let names: Set<String>
    private let give: (String) throws -> Column

    /// - Parameter give: makes one of `names`; called once for each.
    package init(_ names: Set<String>, give: @escaping (String) throws -> Column) {
        self.names = names
        self.give = give
    }

    /// The column that a name means or follows from; nil when there is none.
    func column(behind name: String) throws -> (name: String, column: Column)? {
        let candidates = [name, ColumnNames.derivation(of: name)?.source].compactMap { $0 }
        guard let known = candidates.first(where: names.contains) else { return nil }
        return (known, try give(known))
    }

    /// One of `names`.
    package func column(named name: String) throws -> Column { try give(name) }

    func has(_ name: String) -> Bool {
        names.contains(name)
            || ColumnNames.derivation(of: name).map { names.contains($0.source) } ?? false
    }
}
