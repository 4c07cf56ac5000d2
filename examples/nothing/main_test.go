package main

// The zero Node serves nothing but can dial; what it refuses says why.
func Example() {
	main()
	// Output:
	// dialed: true
	// nothing to call: true and not executed
	// nobody to log in as: true
	// no trust without the key: true
	// no plain listening to the world: true
	// shut down: true
}
